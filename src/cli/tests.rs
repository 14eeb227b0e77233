//! The command line against its own words: the table of commands, messages, configuration files.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use super::args::{Cli, Command, ServeArgs};
use super::config::{self, ServePlan};
use super::failure::Failure;
use super::help;
use crate::nbd::{Audience, Listen, TlsMode};

fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
    for child in command.get_subcommands() {
        let path = format!("{path} {}", child.get_name());
        match child.has_subcommands() {
            true => leaves(child, &path, found),
            false => found.push(path.trim().to_owned()),
        }
    }
}

#[test]
fn the_table_of_commands_names_each_and_only_those() {
    Cli::command().debug_assert();
    let mut commands = Vec::new();
    leaves(&Cli::command(), "", &mut commands);
    let rows: Vec<&str> = help::COMMANDS.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    for command in &commands {
        assert!(rows.iter().any(|row| row.starts_with(&format!("{command} "))), "{command} is not in the table");
    }
    for row in rows {
        assert!(commands.iter().any(|command| row.starts_with(&format!("{command} "))), "{row} is no command");
    }
}

#[test]
fn a_failure_says_what_where_and_hint() {
    let error = std::io::Error::other("the cause");
    let failure = Failure::from_error(super::exit::Exit::Io, &crate::control::ServerError::Start { source: error })
        .hint("do this");
    assert_eq!(failure.human(), "error: cannot start the control server\n  because: the cause\n  hint: do this\n");
    let json: serde_json::Value = serde_json::from_str(&failure.json()).unwrap();
    assert_eq!(
        (json["error"].as_str(), json["code"].as_u64(), json["where"].as_str()),
        (Some("io"), Some(7), Some("because: the cause"))
    );
}

fn serve(line: &str) -> (ServeArgs, Option<PathBuf>) {
    let cli = Cli::try_parse_from(["keymoult", "serve"].into_iter().chain(line.split_whitespace())).unwrap();
    match cli.command {
        Command::Serve(args) => (args, cli.global.control),
        other => panic!("{other:?}"),
    }
}

fn plan(line: &str) -> Result<ServePlan, Failure> {
    let (args, control) = serve(line);
    config::plan(&args, control.as_ref(), || Ok("/default.sock".into()))
}

fn plan_with(file: &str, line: &str) -> Result<ServePlan, Failure> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keymoult.toml");
    std::fs::write(&path, file).unwrap();
    plan(&format!("--config {} {line}", path.display()))
}

/// A file that says everything a flag can say.
const FILE: &str = r#"
kek = ["file:/everyone"]
kek-patience = "2min"
kek-unavailable = "skip"
nbd = ["unix:/nbd.sock", { address = "tcp:192.0.2.1:10809" }]
control = "unix:/control.sock"
io = "posix"
crypto-engine = "portable"
cache = "page"
workers = 3
insecure = true
read-only = false
state-dir = "/state"
[limits]
connections = 9
connections-per-peer = 4
idle-time = "30min"
[tls]
certificate = "/cert"
key = "/key"
client-ca = "/ca"
client-crl = "/crl"
mode = "allowed"
[[volume]]
path = "/a.img"
[[volume]]
name = "second"
path = "/b.img"
header = "/b.header"
kek = ["file:/own"]
read-only = true
"#;

/// The same as flags, as far as flags speak of single volumes.
const FLAGS: &str = "/a.img second=/b.img --header second=/b.header --kek file:/everyone --kek-patience 120s \
    --kek-unavailable skip --nbd unix:/nbd.sock \
    --nbd tcp:192.0.2.1:10809 --control unix:/control.sock --io posix --crypto-engine portable --cache page --workers 3 \
    --insecure --state-dir /state --connections 9 --connections-per-peer 4 --idle-time 1800s \
    --tls-certificate /cert --tls-key /key --tls-client-ca /ca --tls-client-crl /crl --tls allowed";

#[test]
fn a_file_says_what_flags_say() {
    let mut filed = plan_with(FILE, "").unwrap();
    assert_eq!((filed.volumes[1].keks.as_slice(), filed.volumes[1].read_only), (&["file:/own".to_owned()][..], true));
    filed.volumes[1].keks = vec!["file:/everyone".into()];
    filed.volumes[1].read_only = false;
    assert!(filed.place.ends_with("keymoult.toml"), "where to change what a rewrap changes");
    filed.place = "command line".into();
    assert_eq!(filed, plan(FLAGS).unwrap());
}

#[test]
fn policy_says_how_old_a_drill_may_be() {
    let age =
        |policy: &str| plan_with(&format!("{FILE}\n[policy]\n{policy}"), "").map(|plan| plan.policy.drill_max_age);
    assert_eq!(age("drill-max-age = \"90d\"").unwrap(), Some(90 * 86_400));
    assert_eq!((age("").unwrap(), age("drill-max-age = \"never\"").unwrap()), (None, None));
    assert!(age("drill-max-age = \"soon\"").unwrap_err().human().contains("a time is"));
    assert!(age("drill_max_age = \"1d\"").is_err());
}

#[test]
fn a_cluster_is_read_from_the_file_and_refused_with_its_place() {
    let member = |name: &str, byte: u8| {
        let (name, sign, seal) = (name.parse().unwrap(), [byte; 32], [byte + 1; 32]);
        let public = crate::cluster::identity::NodePublic { name, sign, seal };
        format!(
            "[[peers.member]]\nname = \"{}\"\naddress = \"10.0.0.{byte}:7010\"\npublic = \"{public}\"\n",
            public.name
        )
    };
    let peers = |node: &str| {
        format!(
            "{FILE}\n[peers]\ncluster = \"lab\"\nnode = \"{node}\"\nlead = \"a\"\nlisten = \"0.0.0.0:7010\"\ncertificate = \"c\"\n\
             key = \"k\"\nauthority = \"ca\"\nidentity = \"id\"\n{}{}",
            member("a", 1),
            member("b", 3)
        )
    };
    let plan = plan_with(&peers("b"), "").unwrap().peers.unwrap();
    assert_eq!((plan.cluster.as_str(), plan.node.as_str(), plan.members.len()), ("lab", "b", 2));
    assert!(plan_with(FILE, "").unwrap().peers.is_none());
    let refusal = plan_with(&peers("c"), "").unwrap_err().human();
    assert!(
        refusal.contains("peers.node `c` is none of the members") && refusal.contains("keymoult.toml"),
        "{refusal}"
    );
    assert!(plan_with(&format!("{FILE}\n[peers]\nnonsense = 1"), "").is_err());
}

/// The limits that are flags too.
const LIMIT_FLAGS: [&str; 3] = ["connections", "connections-per-peer", "idle-time"];

#[test]
fn every_serve_flag_has_a_setting_and_the_other_way_round() {
    let complaint = plan_with("nonsense = 1", "").unwrap_err().human();
    let settings = |complaint: &str| -> Vec<String> {
        complaint.lines().next().unwrap().split('`').skip(3).step_by(2).map(Into::into).collect()
    };
    let mut known = settings(&complaint);
    let limits = settings(&plan_with("[limits]\nnonsense = 1", "").unwrap_err().human());
    let limits_with_a_flag = limits.into_iter().filter(|limit| LIMIT_FLAGS.contains(&limit.as_str()));
    known.extend(limits_with_a_flag);
    let tls = settings(&plan_with("[tls]\nnonsense = 1", "").unwrap_err().human());
    known.extend(tls.into_iter().filter(|setting| setting != "mode").map(|setting| format!("tls-{setting}")));
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let flags: Vec<&str> = serve.get_arguments().filter_map(|flag| flag.get_long()).collect();
    for flag in flags.iter().filter(|flag| !["config", "header"].contains(flag)) {
        assert!(known.contains(flag), "--{flag} has no setting");
    }
    for setting in known.iter().filter(|setting| !["volume", "control", "limits", "policy", "peers"].contains(setting))
    {
        assert!(flags.contains(setting), "{setting} has no flag");
    }
}

#[test]
fn a_flag_replaces_the_setting_of_its_name() {
    let plan = plan_with(FILE, "/c.img --kek file:/flag --nbd unix:/other --io ring --control unix:/mine").unwrap();
    let names: Vec<&str> = plan.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["c"]);
    assert_eq!(plan.volumes[0].keks, ["file:/flag"]);
    assert_eq!(plan.nbd, [config::at(Listen::Unix("/other".into()), TlsMode::Allowed)]);
    assert_eq!((plan.control.to_str(), plan.workers), (Some("/mine"), Some(3)));
    assert_eq!(plan.io.map(|io| io.to_string()), Some("ring".into()));
    assert!(plan_with(FILE, "--read-only").unwrap().volumes.iter().all(|volume| volume.read_only));
}

#[test]
fn defaults_are_safe() {
    let plan = plan("/a.img --kek file:/k").unwrap();
    assert_eq!(plan.nbd, [config::at(Listen::Unix("/run/keymoult/nbd.sock".into()), TlsMode::Off)]);
    assert_eq!((plan.control.to_str(), plan.state_dir.to_str()), (Some("/default.sock"), Some("/var/lib/keymoult")));
    assert!(!plan.volumes[0].read_only);
}

#[test]
fn bad_plans_are_refused() {
    let cases = [
        ("/x/a.img /y/a.img --kek file:/k", "two volumes are called `a`"),
        ("/a.img", "no key to open volume `a`"),
        ("/a.img --kek file:/k --nbd tcp:0.0.0.0:10809", "beyond this machine, without TLS"),
        ("/a.img /b.img --kek file:/k --header /h", "a header without a name"),
        ("/a.img --kek file:/k --header b=/h", "the header of `b` belongs to no volume"),
    ];
    for (line, words) in cases {
        let message = plan(line).unwrap_err().human();
        assert!(message.contains(words), "{line}: {message}");
    }
    let files = [
        ("", "no volume to serve"),
        ("[[volume]]\npath = \"/a\"\ncolour = 1\nkek = [\"file:/k\"]", "line 3"),
        ("kek = \"file:/k\"", "line 1"),
        ("workers = 0\nkek = [\"file:/k\"]\n[[volume]]\npath = \"/a\"", "workers is from 1 to 256"),
        ("kek = [\"file:/k\"]\nnbd = [\"udp:x\"]\n[[volume]]\npath = \"/a\"", "unix:PATH, tcp:HOST:PORT"),
        ("io = \"magic\"", "magic"),
    ];
    for (file, words) in files {
        let message = plan_with(file, "").unwrap_err().human();
        assert!(message.contains(words), "{file}: {message}");
    }
    let missing = plan("--config /nonexistent/keymoult.toml").unwrap_err();
    assert!(missing.human().contains("/nonexistent/keymoult.toml"), "{}", missing.human());
}

/// A file with one volume, `nbd` and `[limits]` as given.
fn plan_of(nbd: &str, limits: &str) -> Result<ServePlan, Failure> {
    let volume = "[[volume]]\npath = \"/a\"\nkek = [\"file:/k\"]";
    plan_with(&format!("insecure = true\nnbd = [{nbd}]\n[limits]\n{limits}\n{volume}"), "")
}

#[test]
fn a_listener_says_who_may_come_in() {
    let tcp = r#"{ address = "tcp:0.0.0.0:1", allow = ["10.0.0.0/8", "::1"] }"#;
    let unix =
        r#"{ address = "unix:/s", users = ["root", 1000], groups = ["root"], socket-mode = "0660", socket-group = 7 }"#;
    let vsock = r#"{ address = "vsock:any:10809", allow = ["cid:3"] }"#;
    let plan = plan_of(&[tcp, unix, vsock, "\"systemd:nbd\""].join(", "), "").unwrap();
    let [tcp, unix, vsock, passed] = &plan.nbd[..] else { panic!("{:?}", plan.nbd) };
    let networks: Vec<String> = tcp.access.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "::1/128"]);
    let access = &unix.access;
    assert_eq!((access.users.as_slice(), access.groups.as_slice()), (&[0, 1000][..], &[0][..]));
    assert_eq!((unix.rights.mode, unix.rights.group), (0o660, Some(7)));
    assert_eq!(vsock.access.machines, [3]);
    assert_eq!(*passed, config::at(Listen::Passed(Some("nbd".into())), TlsMode::Off));
}

#[test]
fn a_listener_that_makes_no_sense_is_refused() {
    for (listener, words) in [
        (r#"{ allow = ["::1"] }"#, "missing field `address`"),
        (r#"{ address = "unix:/s", colour = 1 }"#, "unknown field `colour`"),
        (r#"{ address = "unix:/s", allow = ["10.0.0.0/8"] }"#, "`allow` with addresses is for TCP"),
        (r#"{ address = "tcp:[::1]:1", users = ["root"] }"#, "`users` is for unix sockets"),
        (r#"{ address = "tcp:[::1]:1", socket-mode = "0660" }"#, "for unix sockets made here"),
        (r#"{ address = "tcp:[::1]:1", allow = ["10.0.0.1/8"] }"#, "write 10.0.0.0/8"),
        (r#"{ address = "unix:/s", users = ["no-such-user"] }"#, "no user `no-such-user`"),
        (r#"{ address = "unix:/s", groups = [-1] }"#, "a user or group number"),
        (r#"{ address = "unix:/s", socket-mode = "999" }"#, "no mode such as"),
        (r#"{ address = "vsock:3:1", allow = ["cid:x"] }"#, "no cid:NUMBER"),
        ("7", "an address or a table"),
    ] {
        let message = plan_of(listener, "").unwrap_err().human();
        assert!(message.contains(words), "{listener}: {message}");
    }
}

#[test]
fn limits_are_read_and_their_ranges_told() {
    let limits = "handshake-time = \"5s\"\noptions = 8\noption-bytes-kept = \"16KiB\"\noption-bytes-skipped = \"1MiB\"\n\
        requests = 16\nbytes = \"2MiB\"\nbytes-in-all = \"64MiB\"\nstall-time = 20\ndrain-time = \"2s\"";
    let bounds = plan_of("\"unix:/s\"", limits).unwrap().bounds;
    assert_eq!((bounds.handshake_time.as_secs(), bounds.handshake.options), (5, 8));
    assert_eq!((bounds.handshake.option_data, bounds.handshake.option_skip), (16 << 10, 1 << 20));
    assert_eq!((bounds.requests, bounds.held, bounds.held_in_all), (16, 2 << 20, 64 << 20));
    assert_eq!((bounds.stall_time.as_secs(), bounds.drain_time.as_secs()), (20, 2));
    assert_eq!(plan_of("\"unix:/s\"", "").unwrap().bounds, Default::default());
    for (limits, words) in [
        ("connections = 0", "the limit `connections` is from 1 to 1048576"),
        ("requests = 5000", "the limit `requests` is from 1 to 1024"),
        ("stall-time = \"never\"", "`stall-time` needs a limit"),
        ("idle-time = \"soon\"", "a time is a whole number"),
        ("bytes = \"2MB\"", "units are binary"),
        ("handshake-time = \"1ms\"", "from 100 milliseconds to 7 days"),
        ("patience = 1", "unknown field `patience`"),
    ] {
        let message = plan_of("\"unix:/s\"", limits).unwrap_err().human();
        assert!(message.contains(words), "{limits}: {message}");
    }
}

/// A file with TLS, listeners of every kind and volumes for everybody, for TLS, for two clients.
const TLS_FILE: &str = r#"
kek = ["file:/k"]
nbd = [
    "unix:/default",
    { address = "tcp:192.0.2.1:1", tls = "required" },
    { address = "unix:/mixed", tls = "allowed" },
    { address = "unix:/plain", tls = "off" },
]
[tls]
certificate = "/cert"
key = "/key"
client-ca = "/ca"
[[volume]]
path = "/open"
[[volume]]
path = "/tls"
tls-only = true
[[volume]]
path = "/named"
clients = ["alice", "bob"]
"#;

#[test]
fn listeners_and_volumes_say_what_tls_is_to_them() {
    let plan = plan_with(TLS_FILE, "").unwrap();
    let modes: Vec<TlsMode> = plan.nbd.iter().map(|listener| listener.tls).collect();
    assert_eq!(modes, [TlsMode::Required, TlsMode::Required, TlsMode::Allowed, TlsMode::Off]);
    let audiences: Vec<Audience> = plan.volumes.iter().map(|volume| volume.audience.clone()).collect();
    let named = Audience::Named(vec!["alice".into(), "bob".into()]);
    assert_eq!(audiences, [Audience::Everybody, Audience::Tls, named]);
    let relaxed = plan_with(TLS_FILE, "--tls allowed").unwrap();
    assert_eq!(relaxed.nbd[0].tls, TlsMode::Allowed, "where the listener says nothing itself");
    assert_eq!(relaxed.nbd[3].tls, TlsMode::Off);
}

#[test]
fn tls_that_does_not_fit_together_is_refused() {
    let open = "{ address = \"tcp:192.0.2.1:1\", tls = \"required\" }";
    let cases = [
        (TLS_FILE.replace("key = \"/key\"", ""), "a TLS certificate needs its private key"),
        (TLS_FILE.replace("certificate = \"/cert\"", ""), "a TLS key needs its certificate"),
        (TLS_FILE.replace("client-ca = \"/ca\"", ""), "`named` names clients, and nobody vouches"),
        (TLS_FILE.replace("client-ca = \"/ca\"", "client-crl = \"/crl\""), "needs their authority"),
        (TLS_FILE.replace(open, &open.replace("required", "allowed")), "beyond this machine, without TLS"),
        (TLS_FILE.replace("\"off\"", "\"maybe\""), "unknown variant `maybe`"),
        (TLS_FILE.replace("tls-only = true", "tls-only = 1"), "expected a boolean"),
        ("kek = [\"file:/k\"]\n[[volume]]\npath = \"/a\"\ntls-only = true".into(), "`a` is for TLS alone"),
        ("kek = [\"file:/k\"]\n[tls]\nmode = \"allowed\"\n[[volume]]\npath = \"/a\"".into(), "is to offer TLS"),
    ];
    for (file, words) in cases {
        let message = plan_with(&file, "").unwrap_err().human();
        assert!(message.contains(words), "{words}: {message}");
    }
}
