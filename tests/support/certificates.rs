//! Certificates for tests: authorities made on the spot, and what they issue.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// Who issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    pub pem: String,
}

/// A certificate and its key, PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// What a certificate says.
#[derive(Clone, Copy)]
pub struct Says<'a> {
    /// Common name.
    pub common: &'a str,
    /// DNS names and addresses.
    pub names: &'a [&'a str],
    pub for_servers: bool,
    pub for_clients: bool,
    pub expired: bool,
    pub serial: u64,
}

impl Default for Says<'_> {
    fn default() -> Self {
        Says { common: "nobody", names: &[], for_servers: false, for_clients: false, expired: false, serial: 1 }
    }
}

impl<'a> Says<'a> {
    /// A server on this machine.
    pub fn server() -> Says<'a> {
        Says { common: "server", names: &["localhost", "127.0.0.1"], for_servers: true, ..Says::default() }
    }

    /// A client with a common name alone.
    pub fn client(common: &'a str) -> Says<'a> {
        Says { common, for_clients: true, ..Says::default() }
    }
}

impl Authority {
    /// A new authority of that name.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Issues a certificate.
    pub fn issue(&self, says: Says<'_>) -> Identity {
        let names: Vec<String> = says.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, says.common);
        params.serial_number = Some(SerialNumber::from(says.serial));
        let usages = [
            (says.for_servers, ExtendedKeyUsagePurpose::ServerAuth),
            (says.for_clients, ExtendedKeyUsagePurpose::ClientAuth),
        ];
        params.extended_key_usages = usages.into_iter().filter(|usage| usage.0).map(|usage| usage.1).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = if says.expired { date_time_ymd(2021, 1, 1) } else { date_time_ymd(2100, 1, 1) };
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// A list that revokes these serial numbers, PEM.
    pub fn revoke(&self, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// Writes a file that only its owner can read; returns where.
pub fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}
