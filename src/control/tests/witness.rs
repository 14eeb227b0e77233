//! The audit log as a witness of keys.

use super::*;
use crate::control::api::ReasonRequest;
use crate::control::audit::{self, AuditLog, LOG_NAME, Record};
use crate::control::authorize::Authorizer;
use crate::control::door::Knock;
use crate::keys::{FileKek, Kek, WrapPurpose};
use crate::units::{Generation, VolumeId};

const PURPOSE: WrapPurpose =
    WrapPurpose { volume: VolumeId([7; 16]), generation: Generation(3), key_id: [9; 16], suite: 0 };

struct House {
    dir: tempfile::TempDir,
    door: Arc<Door>,
    kek: Kek,
}

fn house(log: impl FnOnce(&std::path::Path) -> AuditLog) -> House {
    let dir = tempfile::tempdir().unwrap();
    let door = Arc::new(Door::new(Authorizer::solo(998), log(dir.path())));
    let keeper = Box::new(FileKek::create(&dir.path().join("kek")).unwrap());
    let kek = Kek::new(keeper, Some(Arc::new(AuditWitness::new(Arc::clone(&door)))));
    House { dir, door, kek }
}

fn key() -> crate::crypto::Secret {
    crate::crypto::Secret::filled(32, |bytes| bytes.fill(5))
}

impl House {
    fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        audit::read(&self.dir.path().join(LOG_NAME), None, |record| records.push(record.clone())).unwrap();
        records
    }
}

#[test]
fn a_key_is_wrapped_and_opened_on_record_and_on_behalf_of_who_asked() {
    let house = house(|dir| AuditLog::open(dir).unwrap());
    let actor = Actor { uid: 998, pid: Some(4), process_start: Some(5) };
    let knock = Knock { actor, verb: Verb::RotateStart, object: Object::Volume("disk".into()) };
    let wrapped = house
        .door
        .pass(&knock, b"", |_: ReasonRequest| Ok(house.kek.wrap(&PURPOSE, &key()).map_err(|error| error.to_string())));
    let wrapped = wrapped.unwrap().unwrap();
    house.kek.unwrap(&PURPOSE, &wrapped).unwrap();
    let volume = PURPOSE.volume;
    let told: Vec<String> = house
        .records()
        .iter()
        .map(|record| {
            let by = if record.actor == actor { "operator" } else { "daemon" };
            format!("{:?} {} {} by {by} after {:?}", record.kind, record.verb, record.object, record.intent)
        })
        .collect();
    assert_eq!(
        told,
        [
            "Intent rotate-start volume/disk by operator after None".to_owned(),
            format!("Intent key-wrap key/{volume}/3 by operator after None"),
            format!("Outcome key-wrap key/{volume}/3 by operator after Some(2)"),
            "Outcome rotate-start volume/disk by operator after Some(1)".to_owned(),
            format!("Intent key-unwrap key/{volume}/3 by daemon after None"),
            format!("Outcome key-unwrap key/{volume}/3 by daemon after Some(5)"),
        ]
    );
    let kek = house.records()[1].kek.clone().unwrap();
    assert_eq!(kek, format!("file:{}", house.dir.path().join("kek").display()));
}

#[test]
fn without_a_log_keys_are_opened_and_none_is_wrapped() {
    let house = house(|dir| AuditLog::refusing(dir, "it is damaged"));
    let wrapped = FileKek::open(&house.dir.path().join("kek")).map(Kek::unwitnessed).unwrap().wrap(&PURPOSE, &key());
    house.kek.unwrap(&PURPOSE, &wrapped.unwrap()).unwrap();
    assert!(matches!(house.kek.wrap(&PURPOSE, &key()), Err(KeyError::Unrecorded { .. })));
}
