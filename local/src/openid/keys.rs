//! The signing keys of the stand-in OpenID provider.

use std::collections::VecDeque;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash},
};
use serde_json::{Map, Value, json};
use shared::keys::KeyError;

/// The number of published keys: the one that signs, and the one before it.
const PUBLISHED: usize = 2;

/// RSA keys, the newest first. The first one is made when it is first needed, because that takes a moment.
#[derive(Default)]
pub(super) struct Keys(VecDeque<Key>);

struct Key {
    kid: String,
    public: Jwk,
    private: EncodingKey,
}

impl Key {
    fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048)?;
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair)?;
        let pem = pem::encode(&pem::Pem::new("PRIVATE KEY", der.as_ref()));
        let private = EncodingKey::from_rsa_pem(pem.as_bytes())?;
        let mut public = Jwk::from_encoding_key(&private, Algorithm::RS256)?;
        let kid = public.thumbprint(ThumbprintHash::SHA256)?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            kid,
            public,
            private,
        })
    }
}

impl Keys {
    /// Makes a new key, which signs from now on, and returns its `kid`.
    pub(super) fn rotate(&mut self) -> Result<String, KeyError> {
        self.current()?;
        let key = Key::generate()?;
        let kid = key.kid.clone();
        self.0.push_front(key);
        self.0.truncate(PUBLISHED);
        Ok(kid)
    }

    /// Returns the JWK Set.
    pub(super) fn published(&mut self) -> Result<Value, KeyError> {
        self.current()?;
        let keys = self.0.iter().map(|key| key.public.clone()).collect();
        Ok(json!(JwkSet { keys }))
    }

    /// Signs an ID token.
    pub(super) fn sign(&mut self, claims: &Map<String, Value>) -> Result<String, KeyError> {
        let key = self.current()?;
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(key.kid.clone());
        Ok(jsonwebtoken::encode(&header, claims, &key.private)?)
    }

    fn current(&mut self) -> Result<&Key, KeyError> {
        if self.0.is_empty() {
            self.0.push_front(Key::generate()?);
        }
        // The list has a key now; an empty one would be a bug of this function.
        self.0
            .front()
            .ok_or_else(|| aws_lc_rs::error::Unspecified.into())
    }
}
