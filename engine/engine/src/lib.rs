//! The decisions: what containers and images there are, what is wanted of them and what follows
//! when something happens. Knows neither HTTP nor which platform is below.

mod error;
mod options;

pub use error::{Error, ErrorKind, Result};
pub use options::{
    ArchivePut, AttachOptions, EventsOptions, Filters, ImageRemoveOptions, ImportOptions,
    ListOptions, LogsOptions, RemoveOptions, WaitCondition,
};
