//! The authority of a cluster: what its certificates say.
//!
//! Invariants: a node's certificate names the node as its DNS name, and client and server authentication as its purposes, and
//! nothing else; serial numbers are random; keys are ECDSA over P-256, as TLS takes them everywhere. An authority is made again from
//! its key and the name of the cluster alone.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, Error, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::cluster::identity::NodeName;

/// A day, seconds.
pub const DAY: u64 = 24 * 3600;
/// How long an authority is good: what nodes are told anew is their own certificates.
const AUTHORITY_DAYS: u64 = 20 * 365;
/// How long a list of revoked certificates is good; nothing is refused for its age.
const LIST_DAYS: u64 = 365;
/// Certificates begin so long ago, for clocks that are late, seconds.
const BEFORE: u64 = 3600;

/// Who issues.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was revoked, and when, seconds since 1970.
pub struct Revoked {
    /// Serial number, as it is in the certificate.
    pub serial: Vec<u8>,
    /// When.
    pub at: u64,
}

fn about(cluster: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("keymoult peers of {cluster}"));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// The authority of `cluster` that has this key.
    pub fn of(cluster: &str, key: KeyPair) -> Authority {
        Authority { issuer: Issuer::new(about(cluster), key) }
    }

    /// Its own certificate, PEM.
    pub fn certificate(cluster: &str, key: &KeyPair, now: u64) -> Result<String, Error> {
        let mut params = about(cluster);
        params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_sub(BEFORE));
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(now + AUTHORITY_DAYS * DAY);
        Ok(params.self_signed(key)?.pem())
    }

    /// A certificate of `node` for this key, PEM.
    pub fn issue(&self, node: &NodeName, key: &KeyPair, serial: &[u8], now: u64, ends: u64) -> Result<String, Error> {
        let mut params = CertificateParams::new(vec![node.to_string()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, node.as_str());
        params.serial_number = Some(SerialNumber::from_slice(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_sub(BEFORE));
        params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(ends);
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }

    /// The list of what was revoked, PEM. `number` must grow.
    pub fn list(&self, revoked: &[Revoked], number: u64, now: u64) -> Result<String, Error> {
        let revoked = revoked.iter().map(|one| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&one.serial),
            revocation_time: date_time_ymd(1970, 1, 1) + Duration::from_secs(one.at),
            reason_code: Some(RevocationReason::CessationOfOperation),
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1) + Duration::from_secs(now.saturating_sub(BEFORE)),
            next_update: date_time_ymd(1970, 1, 1) + Duration::from_secs(now + LIST_DAYS * DAY),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer)?.pem()
    }
}
