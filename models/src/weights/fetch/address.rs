//! Addresses that files are fetched from: https, or http on this machine.

use core::net::IpAddr;

use super::super::{Result, WeightsError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    secure: bool,
    /// With the port, if any.
    authority: String,
    /// With the query, if any; starts with `/`.
    path: String,
}

impl Address {
    /// Base address of a hub.
    pub fn base(text: &str) -> Result<Self> {
        let address = Self::parse(text)?;
        match address.secure || address.is_local() {
            true => Ok(Self { path: address.path.trim_end_matches('/').to_owned(), ..address }),
            false => Err(refused(text, "http is for this machine only, others need https")),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let text = text.split('#').next().unwrap_or(text);
        if text.len() > 16_384 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused(text, "it is no web address"));
        }
        let (secure, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err(refused(text, "it is no web address")),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() || authority.contains(['@', '\\']) {
            return Err(refused(text, "it has no plain host name"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { secure, authority: authority.to_ascii_lowercase(), path })
    }

    /// Where a file of a net lies on a hub.
    pub fn file(&self, repository: &str, revision: &str, file: &str) -> Self {
        let path = format!("{}/{repository}/resolve/{revision}/{file}", self.path);
        Self { path, ..self.clone() }
    }

    /// Where a redirect of `self` leads. A hub on this machine may redirect
    /// within it; all else has to be https.
    pub fn redirect(&self, base: &Self, location: &str) -> Result<Self> {
        let target = match location {
            _ if location.contains("://") => Self::parse(location)?,
            _ if location.starts_with("//") => {
                Self::parse(&format!("{}:{location}", if self.secure { "https" } else { "http" }))?
            }
            _ if location.starts_with('/') => Self::parse(&format!("{}{location}", self.origin()))?,
            _ => {
                let path = self.path.split('?').next().unwrap_or_default();
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                Self::parse(&format!("{}{folder}/{location}", self.origin()))?
            }
        };
        match target.secure || (base.is_plain_local() && target.is_local()) {
            true => Ok(target),
            false => Err(refused(&target.text(), "the server redirects to an address that is not https")),
        }
    }

    pub fn text(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    /// For messages: without the query, which may carry a signature.
    pub fn shown(&self) -> String {
        self.text().split('?').next().unwrap_or_default().to_owned()
    }

    pub fn is_local(&self) -> bool {
        let host = match self.authority.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
            None => self.authority.split(':').next().unwrap_or_default(),
        };
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    fn is_plain_local(&self) -> bool {
        !self.secure && self.is_local()
    }

    fn origin(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }
}

fn refused(url: &str, what: &'static str) -> WeightsError {
    let url = url.split('?').next().unwrap_or_default().chars().take(200).collect();
    WeightsError::Address { url, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_are_secure_or_on_this_machine() {
        for good in [
            "https://huggingface.co",
            "HTTPS://Mirror.example:8443/hub/",
            "http://127.0.0.1:80",
            "http://[::1]:9/x",
            "http://localhost",
        ] {
            assert!(Address::base(good).is_ok(), "{good}");
        }
        for bad in [
            "http://mirror.lan",
            "ftp://a",
            "huggingface.co",
            "https://",
            "https://u:p@a/",
            "http://127.0.0.1.evil.example",
            "https://a b",
            "http://localhost.evil.example",
            "https://a\\@b",
        ] {
            assert!(Address::base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_lie_below_the_prefix_of_a_mirror() {
        let base = Address::base("https://mirror.example/hub/").unwrap();
        assert_eq!(base.file("o/n", "main", "a/b.c").text(), "https://mirror.example/hub/o/n/resolve/main/a/b.c");
    }

    #[test]
    fn redirects_never_leave_encryption() {
        let base = Address::base("https://hub.example").unwrap();
        let at = base.file("o/n", "main", "f");
        let to = |location: &str| at.redirect(&base, location).map(|address| address.text());
        assert_eq!(to("https://cdn.example/x?sig=1").unwrap(), "https://cdn.example/x?sig=1");
        assert_eq!(to("/api/x").unwrap(), "https://hub.example/api/x");
        assert_eq!(to("//cdn.example/x").unwrap(), "https://cdn.example/x");
        assert_eq!(to("g").unwrap(), "https://hub.example/o/n/resolve/main/g");
        for bad in ["http://cdn.example/x", "http://127.0.0.1/x", "file:///etc/passwd"] {
            assert!(to(bad).is_err(), "{bad}");
        }
        let local = Address::base("http://127.0.0.1:8000").unwrap();
        assert!(local.redirect(&local, "http://localhost:1/x").is_ok());
        assert!(local.redirect(&local, "https://cdn.example/x").is_ok());
        assert!(local.redirect(&local, "http://cdn.example/x").is_err());
    }
}
