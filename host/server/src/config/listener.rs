//! Listeners that do more than speak HTTP: TLS, the PROXY protocol, a redirect.
//!
//! It must not read what they name: certificates are loaded by `setup`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portcullis_harness::document::mistake::{Cause, Wrong};
use portcullis_harness::document::reader::{Reader, Section};
use portcullis_harness::document::setting::Line;
use portcullis_harness::document::value::{self, Parsed};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, parse};
use crate::http::Banned;
use crate::tls::{ClientField, valid_name};

/// Most listeners.
const LISTENERS_MAX: usize = 64;
/// Most certificates of one.
const CERTIFICATES_MAX: usize = 1000;

/// One `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where clients connect; at least one.
    pub address: Vec<SocketAddr>,
    /// What it shows to clients of TLS, the default first; none: no TLS.
    pub certificates: Vec<CertificateFiles>,
    /// Whose client certificates are believed; none: none are asked for.
    pub clients: Option<ClientFiles>,
    /// Each connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// The port of https to which requests are sent instead of being answered.
    pub redirect_port: Option<u16>,
    /// What a banned source gets.
    pub banned: Banned,
    /// Where it stands.
    pub line: Line,
}

/// One `[[listener.certificate]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub file: PathBuf,
    /// The key; none: in the same file.
    pub key: Option<PathBuf>,
    /// What it is shown for; empty: what it says itself.
    pub names: Vec<String>,
    /// Where it stands.
    pub line: Line,
}

/// What client certificates are checked by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// Those who vouch for clients.
    pub ca: PathBuf,
    /// Lists of revoked certificates.
    pub crl: Option<PathBuf>,
    /// Nobody is let in without one.
    pub required: bool,
    /// What names the client auth id.
    pub field: ClientField,
}

impl Listener {
    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let certificates = self.certificates.iter().flat_map(|one| [Some(&one.file), one.key.as_ref()]);
        let clients = self.clients.iter().flat_map(|clients| [Some(&clients.ca), clients.crl.as_ref()]);
        certificates.chain(clients).flatten().cloned()
    }
}

/// All listeners, in the order of the file.
pub(super) fn read<'t>(reader: &mut Reader<'t>, root: &'t DeTable<'t>, base: &Path) -> Vec<Listener> {
    let tables = tables(reader, root.get("listener"), "listener", LISTENERS_MAX);
    if tables.is_empty() {
        // Defaults are there, and asked for, whether anybody uses them or not.
        let _none = read_one(reader, Section::absent("listener", None), base);
    }
    let read = |(table, line)| {
        let section = reader.section(table, line, "listener", None);
        read_one(reader, section, base)
    };
    tables.into_iter().filter_map(read).collect()
}

/// The tables of `[[key]]`, each with its line.
fn tables<'t>(
    reader: &mut Reader<'t>,
    value: Option<&'t Spanned<DeValue<'t>>>,
    key: &'static str,
    most: usize,
) -> Vec<(&'t DeTable<'t>, usize)> {
    let Some(value) = value else { return Vec::new() };
    let expected = || Wrong::expected(format!("tables, each begun by [[{key}]]"));
    let Some(array) = value.get_ref().as_array() else {
        reader.wrong(value, key, expected());
        return Vec::new();
    };
    if array.len() > most {
        let why = format!("more than {most}");
        reader.mistake(reader.line(value.span().start), key, Cause::Conflict { why });
    }
    let table = |one: &'t Spanned<DeValue<'t>>| {
        let line = reader.line(one.span().start);
        Some((reader.as_table(one, key, expected())?, line))
    };
    array.iter().take(most).filter_map(table).collect()
}

fn read_one<'t>(reader: &mut Reader<'t>, section: Section<'t>, base: &Path) -> Option<Listener> {
    let address = reader.maybe_list(section, "listener.address", parse::socket_address);
    let proxy_protocol = reader
        .get(section, "listener.proxy_protocol", |value| value::choice(value, &[("off", false), ("require", true)]));
    let redirect = reader.maybe(section, "listener.redirect", |value| value::choice(value, &[("https", ())]));
    let redirect_port = reader.get(section, "listener.redirect_port", |value| value::count(value, 1, u16::MAX));
    let banned = reader.maybe(section, "listener.banned", |value| {
        value::choice(value, &[("close", Banned::Close), ("reply", Banned::Reply)])
    });
    let clients = read_clients(reader, section, base);
    let raw = reader.raw(section, "listener.certificate");
    let tables = tables(reader, raw, "listener.certificate", CERTIFICATES_MAX);
    if tables.is_empty() {
        let _none = read_certificate(reader, Section::absent("listener.certificate", None), base);
    }
    let read = |(table, line)| {
        let section = reader.section(table, line, "listener.certificate", None);
        read_certificate(reader, section, base)
    };
    let given = !tables.is_empty();
    let certificates: Vec<_> = tables.into_iter().filter_map(read).collect();
    let table = section.table?;
    if address.as_ref().is_none_or(|address| address.is_empty() && reader.clean("listener.address")) {
        let expected = r#"an address and port such as "0.0.0.0:443", or a list of these"#.to_owned();
        reader.mistake(section.line, "listener.address", Cause::Missing { expected });
    }
    let mut conflict = |key: &'static str, why: &str| {
        let line = reader.line_of(section, key);
        reader.mistake(line, key, Cause::Conflict { why: why.to_owned() });
    };
    if given && redirect.is_some() {
        conflict("listener.redirect", "a listener with certificates speaks https already");
    }
    if !given {
        for key in ["listener.client_ca", "listener.client_crl", "listener.client_certificate", "listener.client_id"] {
            if table.contains_key(portcullis_harness::document::reader::last(key)) {
                conflict(key, "only used with TLS, which needs a [[listener.certificate]]");
            }
        }
    }
    if redirect.is_none() && table.contains_key("redirect_port") {
        conflict("listener.redirect_port", "only used with redirect = \"https\"");
    }
    Some(Listener {
        address: address?,
        clients,
        proxy_protocol,
        redirect_port: redirect.map(|()| redirect_port),
        // Before a handshake a close costs nothing, and a reply all of it.
        banned: banned.unwrap_or(if given { Banned::Close } else { Banned::Reply }),
        certificates,
        line: Line(section.line),
    })
}

fn read_clients<'t>(reader: &mut Reader<'t>, section: Section<'t>, base: &Path) -> Option<ClientFiles> {
    let fields = [
        ("cn", ClientField::CommonName),
        ("dns", ClientField::Dns),
        ("email", ClientField::Email),
        ("uri", ClientField::Uri),
    ];
    let ca = reader.maybe(section, "listener.client_ca", parse::file_path);
    let crl = reader.maybe(section, "listener.client_crl", parse::file_path);
    let required = reader.get(section, "listener.client_certificate", |value| {
        value::choice(value, &[("optional", false), ("required", true)])
    });
    let field = reader.get(section, "listener.client_id", |value| value::choice(value, &fields));
    let Some(ca) = ca else {
        for key in ["client_crl", "client_certificate", "client_id"] {
            if section.table.is_some_and(|table| table.contains_key(key)) && reader.clean("listener.client_ca") {
                let expected = "the file with the certificates of those who vouch for clients".to_owned();
                reader.mistake(section.line, "listener.client_ca", Cause::Missing { expected });
                break;
            }
        }
        return None;
    };
    Some(ClientFiles { ca: base.join(ca), crl: crl.map(|crl| base.join(crl)), required, field })
}

fn read_certificate<'t>(reader: &mut Reader<'t>, section: Section<'t>, base: &Path) -> Option<CertificateFiles> {
    let file = reader.maybe(section, "listener.certificate.file", parse::file_path);
    let key = reader.maybe(section, "listener.certificate.key", parse::file_path);
    let names = reader.maybe_list(section, "listener.certificate.names", host_name);
    let table = section.table?;
    if !table.contains_key("file") {
        let expected = "the PEM file with the certificate, followed by those that lead to its CA".to_owned();
        reader.mistake(section.line, "listener.certificate.file", Cause::Missing { expected });
    }
    Some(CertificateFiles {
        file: base.join(file?),
        key: key.map(|key| base.join(key)),
        names: names.unwrap_or_default(),
        line: Line(section.line),
    })
}

fn host_name(value: &DeValue<'_>) -> Parsed<String> {
    const FORM: &str = r#"a name such as "example.org" or "*.example.org""#;
    value.as_str().filter(|name| valid_name(name)).map(str::to_ascii_lowercase).ok_or_else(|| Wrong::expected(FORM))
}

/// Whether listeners go with everything else.
pub(super) fn check(reader: &mut Reader<'_>, config: &Config) {
    let mut taken: Vec<SocketAddr> = config.listen.address.clone();
    for listener in &config.listeners {
        let line = listener.line.0;
        for address in &listener.address {
            if address.port() != 0 && taken.contains(address) {
                let why = format!("{address} is listened on already, by another listener or listen.address");
                reader.mistake(line, "listener.address", Cause::Conflict { why });
            }
            taken.push(*address);
        }
        if listener.proxy_protocol && config.source.trusted_proxies.is_empty() && reader.clean("source.trusted_proxies")
        {
            let why = "nobody could connect: list the proxies that send the header in source.trusted_proxies";
            reader.mistake(line, "listener.proxy_protocol", Cause::Conflict { why: why.to_owned() });
        }
    }
}
