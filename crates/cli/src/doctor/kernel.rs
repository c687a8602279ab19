use std::path::Path;

use seccomp_agent_notify::Features;

use super::{Finding, read};

const CHECK: &str = "kernel";
/// The oldest Linux with all that the agent takes for granted.
const OLDEST: (u32, u32) = (5, 10);

/// What the running kernel lacks.
pub(super) fn findings() -> Vec<Finding> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let actions = read(Path::new("/proc/sys/kernel/seccomp/actions_avail")).unwrap_or_default();
    let mut findings = vec![age(&release), actions_of(&actions)];
    let Features { wait_killable_recv, sync_wake_up, proc_pidns, .. } = Features::probe();
    for (is_there, what) in [
        (wait_killable_recv, "Linux 5.19: signals do not interrupt a call that is being answered"),
        (sync_wake_up, "Linux 6.6: answers are some four times faster on an idle machine"),
        (proc_pidns, "Linux 6.17: mounting proc takes no process of its own"),
    ] {
        if !is_there {
            findings.push(Finding::note(
                CHECK,
                format!("without what came with {what}"),
                "nothing has to be done",
            ));
        }
    }
    findings
}

fn age(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => {
            Finding::ok(CHECK, format!("Linux {release}"))
        }
        _ => Finding::wrong(CHECK, format!("Linux {release}"), "Linux 5.10 or later is needed"),
    }
}

fn actions_of(available: &str) -> Finding {
    if available.split_whitespace().any(|action| action == "user_notif") {
        Finding::ok(CHECK, "seccomp can notify")
    } else {
        Finding::wrong(
            CHECK,
            format!("seccomp cannot notify, only {}", available.trim()),
            "a kernel with CONFIG_SECCOMP_FILTER is needed",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, state) in [
            ("6.1.0-18-amd64", State::Ok),
            ("5.10.0", State::Ok),
            ("10.0", State::Ok),
            ("5.9.99", State::Wrong),
            ("4.18.0-553.el8", State::Wrong),
            ("", State::Wrong),
        ] {
            assert_eq!(age(release).state, state, "{release}");
        }
    }

    #[test]
    fn a_kernel_that_cannot_notify_is_told() {
        assert_eq!(actions_of("kill_process trap errno user_notif trace log allow\n").state, State::Ok);
        assert_eq!(actions_of("kill_thread trap errno trace log allow\n").state, State::Wrong);
    }
}
