//! What the demo shows, point by point.

use anyhow::{Context, ensure};

use super::stage::Stage;
use crate::command;

/// Something that the agent does.
pub(super) struct Point {
    /// In one line, for people.
    pub(super) title: &'static str,
    /// Shows it; an error says what was not as it should be.
    show: fn(&Stage) -> anyhow::Result<()>,
}

impl Point {
    /// Shows it on `stage`; an error says what was not as it should be.
    pub(super) fn show(&self, stage: &Stage) -> anyhow::Result<()> {
        (self.show)(stage)
    }
}

/// All of them, in order.
pub(super) const POINTS: &[Point] = &[
    Point {
        title: "mkdir makes a directory of another name, with the pid of the container's init",
        show: mkdir,
    },
    Point { title: "chmod, in all its forms, fails with EBADMSG", show: chmod },
    Point {
        title: "mount of proc works without CAP_SYS_ADMIN, and shows the container's processes",
        show: mount,
    },
    Point { title: "execve is held for 2 s, while another thread of the container goes on", show: execve },
    Point { title: "a call that no handler wants goes on as if nothing had happened", show: others },
];

fn mkdir(stage: &Stage) -> anyhow::Result<()> {
    let shown = stage.show(&["mkdir", "mkdirat"], &["sh", "-c", "mkdir /abc; ls -d /abc*"])?;
    let pid = shown.said.strip_prefix("/abc-pid-").and_then(|pid| pid.parse().ok());
    ensure!(pid.is_some(), "there should be /abc-pid- with a pid, and nothing else");
    ensure!(shown.init_pid.is_none() || shown.init_pid == pid, "the pid should be {:?}", shown.init_pid);
    Ok(())
}

fn chmod(stage: &Stage) -> anyhow::Result<()> {
    let ways = ["chmod", "fchmod", "fchmodat", "fchmodat2"];
    let shown = stage.show(&ways, &["chmod", "777", "/"])?;
    ensure!(shown.said.contains("Bad message"), "chmod should say: Bad message");

    let new = stage.has_libseccomp() && !libseccomp_knows_fchmodat2();
    let by_runc = if new { "chmod,fchmod,fchmodat" } else { "chmod,fchmod,fchmodat,fchmodat2" };
    let mut said = stage.show(&ways, &["probe", "chmod", "--by", by_runc, "/"])?.said;
    if new {
        let probe = ["/bin/probe", "chmod", "--by", "fchmodat2", "/"];
        said = format!("{said}\n{}", stage.show_handed_over("fchmodat2", &probe)?.said);
    }
    for way in ways {
        let line = said.lines().find(|line| line.starts_with(&format!("{way}:")));
        let line = line.with_context(|| format!("{way} should be answered"))?;
        ensure!(line.contains("Bad message"), "{way} should say: Bad message");
    }
    Ok(())
}

/// libseccomp has a name for it since 2.5.5; runc leaves out of a profile what it has none for.
fn libseccomp_knows_fchmodat2() -> bool {
    let said = command::output(std::process::Command::new("runc").arg("--version")).unwrap_or_default();
    let version = said.lines().find_map(|line| line.strip_prefix("libseccomp: ")).unwrap_or_default();
    let numbers: Vec<u32> = version.split('.').filter_map(|number| number.parse().ok()).collect();
    numbers >= vec![2, 5, 5]
}

fn mount(stage: &Stage) -> anyhow::Result<()> {
    /// Its bit in a set of capabilities (`capability.h`).
    const CAP_SYS_ADMIN: u32 = 21;
    let script = "grep CapEff /proc/self/status; mount -t proc proc /root && \
                  cat /root/self/cmdline | tr '\\0' ' '; echo; cd /root; echo pids [0-9]*";
    let said = stage.show(&["mount"], &["sh", "-c", script])?.said;
    let mut lines = said.lines();
    let capabilities = lines.next().and_then(|line| line.strip_prefix("CapEff:")).context("no CapEff")?;
    let capabilities = u64::from_str_radix(capabilities.trim(), 16)?;
    ensure!(capabilities & (1 << CAP_SYS_ADMIN) == 0, "the container should not have CAP_SYS_ADMIN");
    ensure!(said.lines().any(|line| line.starts_with("cat ")), "/root/self/cmdline should be that of cat");
    let pids = said.lines().find_map(|line| line.strip_prefix("pids ")).unwrap_or_default();
    ensure!(pids.split(' ').any(|pid| pid == "1"), "the container's init should be process 1");
    let foreign = pids.split(' ').find(|pid| !pid.parse::<u32>().is_ok_and(|pid| pid < 20));
    ensure!(foreign.is_none(), "process {foreign:?} should not be seen");
    Ok(())
}

fn execve(stage: &Stage) -> anyhow::Result<()> {
    let said = stage.show(&["execve", "getppid"], &["probe", "exec-beside-thread", "/bin/true"])?.said;
    let numbers: Vec<u64> =
        said.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
    let [held, calls, longest] = numbers[..] else { anyhow::bail!("the probe should say three numbers") };
    ensure!(held >= 2000, "execve should take 2 s");
    ensure!(calls >= 100 && longest < 500, "the other thread should go on");
    Ok(())
}

fn others(stage: &Stage) -> anyhow::Result<()> {
    let notified = ["uname", "getuid", "geteuid", "getpid", "getppid", "openat", "read"];
    let said = stage.show(&notified, &["sh", "-c", "uname -s; id -u; cat /proc/sys/kernel/hostname"])?.said;
    ensure!(said == "Linux\n0\ncontainer", "uname, id and hostname should say: Linux, 0, container");
    Ok(())
}
