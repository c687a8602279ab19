use std::ffi::OsStr;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Flags of runc and crun that are followed by a value. Of a flag that is in neither list, what follows is taken
/// for a value unless it is a command or another flag.
const WITH_VALUE: [&str; 14] = [
    "apparmor",
    "bundle",
    "b",
    "cgroup-manager",
    "config",
    "f",
    "console-socket",
    "criu",
    "log",
    "log-format",
    "pid-file",
    "preserve-fds",
    "root",
    "rootless",
];

/// Commands of runc and crun.
const COMMANDS: [&str; 21] = [
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "help",
    "init",
    "kill",
    "list",
    "mounts",
    "pause",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
    "version",
];

/// What matters here of the arguments that an engine gives its runtime.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Invocation<'a> {
    /// The bundle, if this starts a new container.
    pub(super) new_bundle: Option<&'a Path>,
    /// Where the runtime would log its errors.
    pub(super) log: Option<&'a Path>,
    /// Whether it would log JSON there.
    pub(super) log_is_json: bool,
}

impl<'a> Invocation<'a> {
    /// Reads the runtime's arguments. They are the runtime's to complain of, so nothing is wrong here.
    pub(super) fn parse(arguments: &'a [OsString]) -> Self {
        let mut invocation = Self::default();
        let mut command = None;
        let mut bundle = None;
        let mut words = arguments.iter().map(OsString::as_os_str).peekable();
        while let Some(word) = words.next() {
            let Some((name, attached)) = flag(word) else {
                if word == "--" {
                    break;
                }
                if command.is_none() {
                    command = Some(word);
                }
                continue;
            };
            let known = WITH_VALUE.iter().any(|with_value| name == *with_value);
            let follows = |next: &&OsStr| {
                known || (command.is_none() && flag(next).is_none() && !COMMANDS.iter().any(|c| next == c))
            };
            let value = match attached {
                Some(value) => Some(value),
                // Once the command is known, a word too many or too few changes nothing.
                None => words.next_if(follows),
            };
            let Some(value) = value else { continue };
            match (name.as_bytes(), command.is_some()) {
                (b"log", false) => invocation.log = Some(Path::new(value)),
                (b"log-format", false) => invocation.log_is_json = value == "json",
                (b"bundle" | b"b", true) => bundle = Some(Path::new(value)),
                _ => {}
            }
        }
        if command.is_some_and(|command| command == "create" || command == "run") {
            // As the runtime, which takes the working directory.
            invocation.new_bundle = Some(bundle.unwrap_or(Path::new(".")));
        }
        invocation
    }
}

/// `-name`, `--name`, `-name=value` or `--name=value`: all four are the same to runc.
fn flag(word: &OsStr) -> Option<(&OsStr, Option<&OsStr>)> {
    let bytes = word.as_bytes();
    let body = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
    if body.is_empty() {
        return None;
    }
    let mut parts = body.splitn(2, |&byte| byte == b'=');
    let name = parts.next().unwrap_or_default();
    Some((OsStr::from_bytes(name), parts.next().map(OsStr::from_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> (Option<String>, Option<String>, bool) {
        let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        let invocation = Invocation::parse(&words);
        let owned = |path: Option<&Path>| path.map(|path| path.to_str().unwrap().to_owned());
        (owned(invocation.new_bundle), owned(invocation.log), invocation.log_is_json)
    }

    #[test]
    fn the_bundle_of_a_new_container_is_found_and_of_nothing_else() {
        for (line, bundle) in [
            ("create --bundle /b --pid-file /p id", Some("/b")),
            ("create --bundle=/b id", Some("/b")),
            ("create -b /b id", Some("/b")),
            ("create -bundle=/b id", Some("/b")),
            ("run id", Some(".")),
            ("run --detach -b /b id", Some("/b")),
            ("--root /r --systemd-cgroup --debug create --bundle /b --no-pivot id", Some("/b")),
            ("--root create delete --force id", None),
            ("--unknown value create --bundle /b id", Some("/b")),
            ("--unknown create --bundle /b id", Some("/b")),
            ("--unknown=create state id", None),
            ("create --unknown value --bundle /b id", Some("/b")),
            ("create --pid-file --bundle --bundle /b id", Some("/b")),
            ("create id -- --bundle /no", Some(".")),
            ("exec --process /p id", None),
            ("exec id run --bundle /no", None),
            ("state create", None),
            ("kill id run", None),
            ("--version", None),
            ("", None),
        ] {
            assert_eq!(of(line).0.as_deref(), bundle, "{line}");
        }
    }

    #[test]
    fn the_log_is_found_before_the_command() {
        let (bundle, log, json) =
            of("--root /r --log /l --log-format json create --bundle /b --log /other id");
        assert_eq!((bundle.as_deref(), log.as_deref(), json), (Some("/b"), Some("/l"), true));
        assert_eq!(of("--log=/l --log-format=text run id").1.as_deref(), Some("/l"));
    }
}
