//! A DNS resolver that looks up the hosts of configured providers only, and returns no address of this machine.
//!
//! Earlier checks refuse everything that could lead a request elsewhere (configured URLs, redirects, discovery
//! documents). The resolver is the last check and independent of them.

use std::{
    collections::BTreeSet,
    error::Error,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A function that looks up a host name.
pub(super) type Lookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The hosts that may be looked up. Clones share the list.
#[derive(Clone)]
pub(super) struct Hosts {
    allowed: Arc<Mutex<BTreeSet<String>>>,
    lookup: Lookup,
    /// True if this is a developer's machine, where stand-ins of providers run as well.
    is_local: bool,
}

impl Hosts {
    pub(super) fn new(lookup: Lookup, is_local: bool) -> Self {
        Self {
            allowed: Arc::default(),
            lookup,
            is_local,
        }
    }

    pub(super) fn allow(&self, host: &str) {
        self.lock().insert(host.to_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the resolver of the operating system.
pub(super) fn system() -> Lookup {
    Arc::new(|host| {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
    })
}

impl Resolve for Hosts {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        if !self.lock().contains(&name) {
            return Box::pin(async { refused("the host is not configured") });
        }
        let (looked_up, is_local) = ((self.lookup)(name), self.is_local);
        Box::pin(async move {
            let mut addresses = looked_up.await?;
            addresses.retain(|address| is_local || is_elsewhere(address.ip()));
            if addresses.is_empty() {
                return refused("the host name has no address outside of this machine");
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

fn refused(why: &'static str) -> Result<Addrs, Box<dyn Error + Send + Sync>> {
    Err(why.into())
}

/// Returns whether the address is neither of this machine nor of a cloud's metadata services (169.254.0.0/16).
/// Private addresses are allowed, because a provider may be in the operator's own network.
fn is_elsewhere(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            !(ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast())
        }
        IpAddr::V6(ip) => {
            // AWS's services for an instance have addresses in this prefix as well.
            let is_aws = ip.segments()[..3]
                == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0).segments()[..3];
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local()
                || is_aws)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolved(hosts: &Hosts, name: &str) -> Result<usize, String> {
        let addresses = hosts.resolve(name.parse().unwrap()).await;
        addresses
            .map(Iterator::count)
            .map_err(|error| error.to_string())
    }

    fn leading_to(address: &'static str, is_local: bool) -> Hosts {
        let address = SocketAddr::new(address.parse().unwrap(), 0);
        let hosts = Hosts::new(
            Arc::new(move |_| Box::pin(async move { Ok(vec![address]) })),
            is_local,
        );
        hosts.allow("login.example.com");
        hosts
    }

    #[tokio::test]
    async fn t47_only_configured_hosts_are_looked_up() {
        let hosts = leading_to("203.0.113.1", false);

        assert_eq!(resolved(&hosts, "login.example.com").await, Ok(1));
        for name in ["evil.example", "sub.login.example.com", "localhost"] {
            assert!(resolved(&hosts, name).await.is_err(), "{name}");
        }
    }

    #[tokio::test]
    async fn t47_a_name_that_leads_to_this_machine_leads_nowhere() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "169.254.169.254",
            "169.254.100.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            let hosts = leading_to(address, false);
            assert!(
                resolved(&hosts, "login.example.com").await.is_err(),
                "{address}"
            );
        }
        for address in ["203.0.113.1", "10.1.2.3", "2001:db8::1", "fd12::1"] {
            let hosts = leading_to(address, false);
            assert_eq!(
                resolved(&hosts, "login.example.com").await,
                Ok(1),
                "{address}"
            );
        }
        let local = leading_to("127.0.0.1", true);
        assert_eq!(resolved(&local, "login.example.com").await, Ok(1));
    }
}
