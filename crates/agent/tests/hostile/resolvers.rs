//! Resolvers that fail in every way there is: the container gets the fallback, and nobody else notices.

use std::os::fd::AsRawFd;
use std::time::Duration;

use seccomp_agent_agent::{Agent, Fallback, Resolver, Resolving};
use seccomp_agent_registry::Container;

use crate::stage::{PROMPT, Stage, resolve, send, state};

const EPERM: i32 = -1;
const DEADLINE: Duration = Duration::from_millis(300);

/// Fails as the container's name says.
struct Moody;

impl Resolver for Moody {
    fn resolve<'a>(&'a self, container: &'a Container) -> Resolving<'a> {
        assert_ne!(container.id, "panic at once");
        let resolved = resolve(container).map(std::sync::Arc::new);
        Box::pin(async move {
            match container.id.as_str() {
                "fail" => Err("no such pod".into()),
                "hang" => std::future::pending().await,
                "panic later" => {
                    tokio::task::yield_now().await;
                    panic!("a bug of the resolver")
                }
                _ => resolved,
            }
        })
    }
}

#[test]
fn a_resolver_that_fails_hangs_or_panics_gives_its_container_the_fallback() {
    let stage = Stage::with(Agent::new(Moody).fallback(Fallback::Refuse, DEADLINE));
    for name in ["fail", "hang", "panic at once", "panic later"] {
        let (victim, ..) = stage.peer(|stream, listener| {
            send(stream, state(name).as_bytes(), &[listener.as_raw_fd()]);
        });
        stage.serve_another();
        assert_eq!(victim.returned(DEADLINE + PROMPT), EPERM, "{name}");
        let told = stage.warnings();
        assert_eq!(told.iter().filter(|line| line.contains(&format!("{name:?}"))).count(), 1, "{told:#?}");
        stage.is_undisturbed();
    }
}
