//! A real PKCS#11 token in software: SoftHSM in a folder of the test's own.
//!
//! Which folder SoftHSM uses is an environment variable, and a process has one environment: so a test that wants a token runs
//! itself again as a child that has the variable from its start.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::keys::{Kek, KekUri, KeyError, NewKek, open};

const CHILD: &str = "KEYMOULT_TEST_SOFTHSM";
const CONFIG: &str = "SOFTHSM2_CONF";
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub const PIN: &str = "1234";

/// SoftHSM's folder. A token `kek` with a key `g1`, id 01, is in it.
pub struct SoftHsm {
    dir: PathBuf,
}

/// Runs `body` in a process of its own that has a SoftHSM; `test` is the name of the calling test in this folder.
#[track_caller]
pub fn with_softhsm(test: &str, body: fn(&SoftHsm)) {
    if let Some(dir) = std::env::var_os(CHILD) {
        return body(&SoftHsm { dir: dir.into() });
    }
    let dir = tempfile::Builder::new().prefix("keymoult-hsm").tempdir().unwrap();
    std::fs::create_dir(dir.path().join("tokens")).unwrap();
    let tokens = dir.path().join("tokens");
    let config =
        format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
    std::fs::write(dir.path().join("softhsm2.conf"), config).unwrap();
    let hsm = SoftHsm { dir: dir.path().to_owned() };
    hsm.init_token("kek");
    hsm.make_key("g1", "01", &["--sensitive"]);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &format!("keys::tests::{test}"), "--nocapture"]);
    let output = child.env(CHILD, dir.path()).env(CONFIG, dir.path().join("softhsm2.conf")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{}: {told}", output.status);
}

impl SoftHsm {
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn run(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(args).env(CONFIG, self.dir.join("softhsm2.conf"));
        let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}: run tools/setup"));
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {told}");
        told
    }

    pub fn init_token(&self, label: &str) {
        let pins = ["--so-pin", "12345678", "--pin", PIN];
        self.run("softhsm2-util", &[&["--init-token", "--free", "--label", label][..], &pins].concat());
    }

    pub fn delete_token(&self, label: &str) {
        self.run("softhsm2-util", &["--delete-token", "--token", label]);
    }

    pub fn tool(&self, args: &[&str]) -> String {
        let login = ["--module", MODULE, "--token-label", "kek", "--login", "--pin", PIN];
        self.run("pkcs11-tool", &[&login[..], args].concat())
    }

    pub fn make_key(&self, label: &str, id: &str, more: &[&str]) {
        let make = ["--keygen", "--key-type", "AES:32", "--label", label, "--id", id];
        self.tool(&[&make[..], more].concat());
    }

    pub fn pin_file(&self, pin: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.join(format!("pin-{pin}"));
        std::fs::write(&path, format!("{pin}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// `pkcs11:NAMED?…` with module and the right PIN.
    pub fn uri(&self, named: &str, more: &str) -> String {
        format!("pkcs11:{named}?module-path={MODULE}&pin-source=file:{}{more}", self.pin_file(PIN).display())
    }

    pub fn open(&self, named: &str, more: &str) -> Result<Kek, KeyError> {
        open_uri(&self.uri(named, more))
    }
}

/// Opens a KEK as the program does.
pub fn open_uri(uri: &str) -> Result<Kek, KeyError> {
    let uri: KekUri = uri.parse()?;
    Ok(Kek::new(open(&uri, NewKek::Never)?.keeper, None))
}
