//! stub
use crate::*; use crate::record::Record;
pub(crate) fn prepare(_: &Inner, _: &mut Record) -> Result<()> { Ok(()) }
pub(crate) fn remove_anonymous(_: &Inner, _: &Record) {}
