//! `image ls`, `inspect` and `history`.

use std::collections::BTreeMap;

use dockerapi::{
    ContainerConfig, GraphDriver, HistoryItem, ImageInspect, ImageMetadata, ImageSummary,
    RootFsInspect,
};
use images::Image;
use oci::image::Execution;
use oci::{Platform, Reference};

use super::glob;
use crate::disk_usage::tell_shared;
use crate::list::{labels_match, parse_time};
use crate::options::{Filters, ImageListOptions};
use crate::{Engine, Error, Result, clock};

impl Engine {
    /// Images that pass the filters (`before`, `dangling`, `label`, `reference`, `since`, `until`),
    /// newest first. Unnamed parents of others are left out unless `all`.
    ///
    /// # Errors
    /// Invalid parameter for other filters and bad values; not found for images in filters.
    pub fn image_list(
        &self,
        options: ImageListOptions,
        filters: &Filters,
    ) -> Result<Vec<ImageSummary>> {
        let ImageListOptions {
            all,
            shared,
            manifests,
        } = options;
        let wanted = Wanted::parse(self, filters)?;
        let images = self.0.images.list()?;
        let is_parent = |image: &Image| {
            images
                .iter()
                .any(|child| child.parent.as_ref() == Some(&image.id))
        };
        let mut users: BTreeMap<String, i64> = BTreeMap::new();
        for container in self.0.containers.all() {
            *users
                .entry(container.record().image_id.clone())
                .or_default() += 1;
        }
        let mut found = Vec::new();
        for image in &images {
            let unnamed = image.tags.is_empty() && image.digests.is_empty();
            if unnamed && !all && is_parent(image) {
                continue;
            }
            if let Some((created, mut summary)) = wanted.take(image)? {
                let together = self.0.images.together(image);
                let ids = together.iter().map(|one| users.get(one.id.as_str()));
                summary.containers = ids.flatten().sum();
                if image.index.is_some() {
                    summary.size = signed(together.iter().map(|one| one.size).sum());
                }
                if manifests {
                    summary.manifests = Some(super::manifests::of(&self.0, image));
                }
                found.push((created, summary));
            }
        }
        found.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
        let mut rows: Vec<ImageSummary> = found.into_iter().map(|(_, row)| row).collect();
        if shared {
            tell_shared(&self.0, &mut rows, &images);
        }
        Ok(rows)
    }

    /// Everything about one image.
    ///
    /// # Errors
    /// Not found.
    pub fn image_inspect(&self, name: &str) -> Result<ImageInspect> {
        self.image_inspect_for(name, None, false)
    }

    /// The same for a platform of it, or with what its index lists.
    ///
    /// # Errors
    /// Not found; invalid parameter when both are asked for.
    pub fn image_inspect_for(
        &self,
        name: &str,
        platform: Option<&Platform>,
        manifests: bool,
    ) -> Result<ImageInspect> {
        if manifests && platform.is_some() {
            return Err(Error::invalid(
                "conflicting options: manifests and platform options cannot both be set",
            ));
        }
        let image = self.0.images.resolve_for(name, platform)?;
        let mut found = inspect(&image);
        if platform.is_some() {
            found.descriptor.clone_from(&image.manifest);
        }
        found.manifests = manifests.then(|| super::manifests::of(&self.0, &image));
        Ok(found)
    }

    /// The steps that made an image, newest first; of the platform, if one is asked for.
    ///
    /// # Errors
    /// Not found.
    pub fn image_history(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<Vec<HistoryItem>> {
        let image = self.0.images.resolve_for(name, platform)?;
        let steps = self.0.images.history(&image).into_iter().enumerate();
        let item = |(n, step): (usize, images::Step)| HistoryItem {
            comment: step.history.comment,
            created: step.history.created.as_deref().map_or(0, clock::parse) / 1_000_000_000,
            created_by: step.history.created_by,
            id: if n == 0 {
                image.id.to_string()
            } else {
                "<missing>".into()
            },
            size: signed(step.size),
            tags: (n == 0 && !image.tags.is_empty()).then(|| familiar(&image.tags)),
        };
        Ok(steps.map(item).collect())
    }
}

struct Wanted<'a> {
    filters: &'a Filters,
    dangling: Option<bool>,
    before: Option<i64>,
    since: Option<i64>,
}

impl<'a> Wanted<'a> {
    fn parse(engine: &Engine, filters: &'a Filters) -> Result<Self> {
        filters.only(&["before", "dangling", "label", "reference", "since", "until"])?;
        let created = |key: &str| -> Result<Option<i64>> {
            match filters.get(key) {
                [] => Ok(None),
                [name] => Ok(Some(created(&engine.0.images.resolve(name)?))),
                _ => Err(Error::invalid(format!(
                    "more than one {key} filter specified"
                ))),
            }
        };
        let mut before = created("before")?;
        for until in filters.get("until") {
            let until = parse_time(until)?;
            before = Some(before.map_or(until, |before| before.min(until)));
        }
        let dangling = match filters.get("dangling") {
            [] => None,
            [value] if matches!(value.as_str(), "1" | "true") => Some(true),
            [value] if matches!(value.as_str(), "0" | "false") => Some(false),
            values => {
                return Err(Error::invalid(format!(
                    "invalid filter 'dangling={values:?}'"
                )));
            }
        };
        Ok(Self {
            filters,
            dangling,
            before,
            since: created("since")?,
        })
    }

    /// The image's row and its time of creation, if it is wanted.
    fn take(&self, image: &Image) -> Result<Option<(i64, ImageSummary)>> {
        let created = created(image);
        if self.before.is_some_and(|before| created >= before)
            || self.since.is_some_and(|since| created <= since)
            || self
                .dangling
                .is_some_and(|dangling| dangling != image.tags.is_empty())
            || !labels_match(&image.config.config.labels, self.filters.get("label"))
        {
            return Ok(None);
        }
        let mut row = summary(image, created / 1_000_000_000);
        if self.filters.has("reference") {
            row.repo_tags = self.named(&image.tags)?;
            row.repo_digests = self.named(&image.digests)?;
            if row.repo_tags.is_empty() && row.repo_digests.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some((created, row)))
    }

    /// Names that match one of the patterns, with or without their tag.
    fn named(&self, references: &[Reference]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for reference in references {
            let whole = reference.familiar();
            let mut fits = false;
            for pattern in self.filters.get("reference") {
                fits |= glob::matches(pattern, &whole)?
                    || glob::matches(pattern, &reference.familiar_name())?;
            }
            if fits {
                found.push(whole);
            }
        }
        Ok(found)
    }
}

fn summary(image: &Image, created: i64) -> ImageSummary {
    let labels = &image.config.config.labels;
    ImageSummary {
        containers: 0,
        // Not computed, as moby says it.
        shared_size: -1,
        created,
        id: image.id.to_string(),
        labels: (!labels.is_empty()).then(|| labels.clone()),
        parent_id: parent(image),
        descriptor: super::manifests::target(image),
        manifests: None,
        repo_digests: familiar(&image.digests),
        repo_tags: familiar(&image.tags),
        size: signed(image.size),
        virtual_size: None,
    }
}

fn inspect(image: &Image) -> ImageInspect {
    let config = &*image.config;
    let last = config.history.last().map(|step| step.comment.clone());
    let comment = match config.comment.is_empty() {
        true => last.unwrap_or_default(),
        false => config.comment.clone(),
    };
    ImageInspect {
        id: image.id.to_string(),
        repo_tags: familiar(&image.tags),
        repo_digests: familiar(&image.digests),
        parent: parent(image),
        comment,
        created: config.created.clone().unwrap_or_default(),
        docker_version: config.docker_version.clone(),
        author: config.author.clone(),
        config: defaults(&config.config),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os: config.os.clone(),
        os_version: config.os_version.clone(),
        size: signed(image.size),
        virtual_size: None,
        graph_driver: GraphDriver {
            data: None,
            name: "overlay2".into(),
        },
        root_fs: RootFsInspect {
            kind: "layers".into(),
            layers: image.layers.iter().map(ToString::to_string).collect(),
        },
        metadata: ImageMetadata {
            last_tag_time: clock::rfc3339(image.last_tagged),
        },
        descriptor: super::manifests::target(image),
        manifests: None,
    }
}

/// The image's defaults in the shape of a container's configuration; null where nothing was said.
fn defaults(execution: &Execution) -> ContainerConfig {
    let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    ContainerConfig {
        user: execution.user.clone(),
        exposed_ports: execution.exposed_ports.clone(),
        env: list(&execution.env),
        cmd: execution.cmd.clone(),
        healthcheck: execution.healthcheck.clone(),
        args_escaped: execution.args_escaped,
        volumes: (!execution.volumes.is_empty()).then(|| execution.volumes.clone()),
        working_dir: execution.working_dir.clone(),
        entrypoint: execution.entrypoint.clone(),
        on_build: list(&execution.on_build),
        labels: execution.labels.clone(),
        stop_signal: execution.stop_signal.clone(),
        shell: execution.shell.clone(),
        ..ContainerConfig::default()
    }
}

/// Nanoseconds since 1970; 0 when the image does not say.
pub(super) fn created(image: &Image) -> i64 {
    image.config.created.as_deref().map_or(0, clock::parse)
}

fn familiar(references: &[Reference]) -> Vec<String> {
    references.iter().map(Reference::familiar).collect()
}

fn parent(image: &Image) -> String {
    image
        .parent
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

pub(super) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
