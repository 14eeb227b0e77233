//! Blobs of wrapped keys, from AES-KWP up to the providers. Promises: a blob opens only if it is the one the same KEK
//! makes of the key for the same purpose; a passphrase's blob costs nothing while its parameters are out of bounds, and
//! its KEK is derived once.

use std::sync::OnceLock;

use keymoult::crypto::kdf::Argon2Params;
use keymoult::crypto::wrap::{WrapContext, kwp_unwrap, kwp_wrap};
use keymoult::format::wrapped::Wrapped;
use keymoult::keys::{Kek, PassphraseKek, PassphraseSource, PassphraseUse, ProviderKind, WrapPurpose};
use keymoult::units::{Generation, VolumeId};

use crate::support::files::private;
use crate::support::golden::keks;
use crate::support::input::Input;
use crate::support::sealed::secret;

/// Bytes before the wrapped key in a passphrase's blob.
const RECIPE: usize = 28;
const PURPOSE: WrapPurpose =
    WrapPurpose { volume: VolumeId([3; 16]), generation: Generation(1), key_id: [4; 16], suite: 0 };

pub fn run(bytes: &[u8]) {
    plain(bytes);
    let mut input = Input::new(bytes);
    let provider = input.pick(&[ProviderKind::File.id(), ProviderKind::Passphrase.id(), 9]);
    let version = u32::from(input.u8() & 1);
    let own_id = input.flag();
    let blob = input.rest().to_vec();
    let kek_id = match keks()[0].describe().kek_id.clone() {
        Some(id) if own_id => id,
        _ => "pass-0000000000000000".into(),
    };
    let wrap = Wrapped { provider, kek_id, kek_version: version, blob };
    if let Ok(key) = keks()[0].unwrap(&PURPOSE, &wrap) {
        assert!(keks()[0].wrap(&PURPOSE, &key).is_ok_and(|again| again == wrap), "another blob opens");
    }
    by_passphrase(wrap);
}

fn plain(blob: &[u8]) {
    let (kek, context) = (secret(32, 1), PURPOSE.context("file-0"));
    let context: WrapContext<'_> = context;
    if let Ok(key) = kwp_unwrap(&kek, &context, blob) {
        assert_eq!(kwp_wrap(&kek, &context, &key).ok().as_deref(), Some(blob), "another blob opens");
    }
}

fn by_passphrase(mut wrap: Wrapped) {
    let (kek, known) = (passphrase(), known());
    let params = params(&wrap.blob);
    if params.is_some_and(|params| params.check().is_ok()) {
        // Deriving takes a fifth of a second: the recipe becomes the one that is derived already.
        wrap.blob[..RECIPE].copy_from_slice(&known.blob[..RECIPE]);
        wrap.kek_id.clone_from(&known.kek_id);
    }
    if let Ok(key) = kek.unwrap(&PURPOSE, &wrap) {
        assert!(kek.wrap(&PURPOSE, &key).is_ok_and(|again| again == wrap), "another blob opens");
    }
}

fn params(blob: &[u8]) -> Option<Argon2Params> {
    let mut input = Input::new(blob.get(..RECIPE)?);
    let (_layout, p, _reserved) = (input.u8(), u32::from(input.u8()), input.u16());
    Some(Argon2Params { p, m_kib: input.u32(), t: input.u32() })
}

fn passphrase() -> &'static Kek {
    static KEK: OnceLock<Kek> = OnceLock::new();
    KEK.get_or_init(|| {
        let source = PassphraseSource::File(private("golden-passphrase", include_bytes!("../../golden/passphrase")));
        Kek::unwitnessed(PassphraseKek::open(&source, PassphraseUse::Open).unwrap())
    })
}

/// A wrap by the passphrase: its recipe is known from then on.
fn known() -> &'static Wrapped {
    static WRAP: OnceLock<Wrapped> = OnceLock::new();
    WRAP.get_or_init(|| passphrase().wrap(&PURPOSE, &secret(32, 8)).unwrap())
}
