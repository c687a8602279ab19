//! The policy's file, and what becomes of a container by it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seccomp_agent_policy::Policy;
use seccomp_agent_registry::Container;

fuzz_target!(|text: &str| {
    if let Ok(policy) = Policy::parse(text) {
        let mut container = Container::named("web-1");
        container.metadata = "MKDIR_TMPL=-x\nMOUNT_PROC=true".to_owned();
        let _ = policy.resolve(&container);
    }
});
