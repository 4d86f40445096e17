//! The options of a radio's URL.

use super::{MTU_MIN, RadioUrlError, Scheme, meshcore};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use tombolo_mesh::wire::ax25::Ax25CallSign;

/// What stands behind the question mark, taken out one by one; what is left over was unknown.
pub(super) struct Options {
    given: BTreeMap<String, String>,
    scheme: &'static str,
    known: &'static str,
}

impl Options {
    pub(super) fn parse(query: &str, scheme: &Scheme) -> Result<Self, RadioUrlError> {
        let mut given = BTreeMap::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let pair = option.split_once('=').filter(|(_, value)| !value.is_empty());
            let (name, value) = pair.ok_or_else(|| RadioUrlError::NoValue(option.into()))?;
            if given.insert(name.to_string(), value.to_string()).is_some() {
                return Err(RadioUrlError::Twice(name.into()));
            }
        }
        Ok(Self { given, scheme: scheme.name, known: scheme.known })
    }

    /// The option's text, if this scheme has it.
    pub(super) fn take(&mut self, option: &str) -> Option<String> {
        self.known.split(", ").any(|known| known == option).then(|| self.given.remove(option)).flatten()
    }

    pub(super) fn given<T: TryFrom<u64>>(
        &mut self,
        option: &'static str,
        range: RangeInclusive<u64>,
        wanted: &'static str,
    ) -> Result<Option<T>, RadioUrlError> {
        let Some(value) = self.take(option) else { return Ok(None) };
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value.parse().ok().filter(|n| digits && range.contains(n));
        match number.and_then(|n| T::try_from(n).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(RadioUrlError::Value { option, value, wanted }),
        }
    }

    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        option: &'static str,
        default: T,
        range: RangeInclusive<u64>,
        wanted: &'static str,
    ) -> Result<T, RadioUrlError> {
        Ok(self.given(option, range, wanted)?.unwrap_or(default))
    }

    pub(super) fn mtu(
        &mut self,
        default: usize,
        max: usize,
        wanted: &'static str,
    ) -> Result<usize, RadioUrlError> {
        self.number("mtu", default, MTU_MIN as u64..=max as u64, wanted)
    }

    pub(super) fn call(&mut self) -> Result<Option<Ax25CallSign>, RadioUrlError> {
        let Some(value) = self.take("call") else { return Ok(None) };
        value.parse().map(Some).map_err(|source| RadioUrlError::CallSign { value, source })
    }

    pub(super) fn modem(&mut self) -> Result<bool, RadioUrlError> {
        match self.take("modem") {
            None => Ok(false),
            Some(value) if value == "meshcore" => Ok(true),
            Some(value) => Err(RadioUrlError::Value { option: "modem", value, wanted: "meshcore" }),
        }
    }

    pub(super) fn secret(&mut self) -> Result<Option<[u8; meshcore::SECRET_BYTES]>, RadioUrlError> {
        const WANTED: &str = "32 hex digits";
        let Some(value) = self.take("secret") else { return Ok(None) };
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(value.as_bytes()).ok();
        match bytes.and_then(|bytes| bytes.try_into().ok()) {
            Some(secret) => Ok(Some(secret)),
            None => Err(RadioUrlError::Value { option: "secret", value: "…".into(), wanted: WANTED }),
        }
    }

    pub(super) fn name(&mut self, option: &'static str) -> Result<Option<String>, RadioUrlError> {
        const NAME_BYTES_MAX: usize = 32;
        let Some(value) = self.take(option) else { return Ok(None) };
        let clean = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-/.".contains(&byte));
        if clean && value.len() <= NAME_BYTES_MAX {
            return Ok(Some(value));
        }
        Err(RadioUrlError::Value { option, value, wanted: "a name of letters, digits and -_/." })
    }

    pub(super) fn finish(self) -> Result<(), RadioUrlError> {
        match self.given.into_keys().next() {
            None => Ok(()),
            Some(option) => Err(RadioUrlError::Option { scheme: self.scheme, option, known: self.known }),
        }
    }
}
