//! What a container's author asks for, against a policy that honours everything.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use seccomp_agent_policy::Policy;
use seccomp_agent_registry::Container;

static GENEROUS: LazyLock<Policy> =
    LazyLock::new(|| Policy::parse(include_str!("../generous.yaml")).expect("a policy"));

fuzz_target!(|asked: (&str, &str, &str)| {
    let (metadata, annotation, id) = asked;
    let mut container = Container::named(id);
    metadata.clone_into(&mut container.metadata);
    for key in ["MKDIR_TMPL", "EXEC_PATTERN", "EXEC_DURATION", "MOUNT_PROC"] {
        container.annotations.insert(format!("seccomp-agent/{key}"), annotation.to_owned());
        let _ = GENEROUS.resolve(&container);
        container.annotations.clear();
    }
    // However much is asked for, what is said of it is short.
    if let Err(error) = GENEROUS.resolve(&container) {
        assert!(error.to_string().len() < 2000);
    }
});
