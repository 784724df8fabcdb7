//! `job.submit`: from what a client asks to a job with everything decided. The
//! source is in the blob store, durably, before the job is queued.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use meshkiln_models::{
    import::{self, Bundle, pair},
    recipe::{Plan, Recipe},
};
use meshkiln_protocol::{
    error::ErrorKind,
    job::{Job, SourceParams, SubmitParams},
};

use super::{
    Daemon,
    convert::{self, CallError},
    gather, jobs,
    methods::blocking,
    source,
};
use crate::{
    main_loop::{Answer, Call, Submission},
    recipes,
    store::blobs::{Blob, Digest, PutError},
};

const LONGEST_KEY: usize = 200;

pub async fn submit(daemon: Arc<Daemon>, params: SubmitParams) -> Result<Job, CallError> {
    let here = daemon.clone();
    let submission = blocking(move || prepare(&here, params)).await?;
    queue(daemon, submission).await
}

/// Answers with the job after the durable commit.
pub async fn queue(daemon: Arc<Daemon>, submission: Submission) -> Result<Job, CallError> {
    match daemon.backend.call(Call::Submit(vec![submission])).await? {
        Answer::Jobs(ids) => match ids.first() {
            Some(id) => jobs::read(daemon, *id).await,
            None => Err(jobs::unexpected(Answer::Jobs(ids))),
        },
        other => Err(jobs::unexpected(other)),
    }
}

/// The picture of a source, as a blob that is there to stay.
pub fn picture(daemon: &Daemon, source: SourceParams) -> Result<Blob, CallError> {
    let found = From::read("source", source)?.open(daemon)?;
    if found.is_mesh(daemon)? {
        let hint = "give a picture: PNG, JPEG, WebP, BMP, TIFF or GIF";
        return Err(convert::refused(ErrorKind::Unsupported, "the source is a mesh, not a picture", hint));
    }
    found.take(daemon)
}

/// A recipe with the caller's settings, everything decided.
pub fn plan(daemon: &Daemon, mut recipe: Recipe, set: &[String]) -> Result<Plan, CallError> {
    for assignment in set {
        recipe.set_text(assignment)?;
    }
    Ok(daemon.recipes.plan(&recipe)?)
}

/// Where a client wants the finished file: a file, or a folder for one called
/// `name`. `source` must not be overwritten.
pub fn check_output(text: &str, name: &str, source: Option<&Path>, plan: &Plan) -> Result<PathBuf, CallError> {
    if !plan.makes_file() {
        return Err(convert::invalid(
            format!("`output`: recipe `{}` only reports, it makes no file", plan.recipe),
            "leave `output` out; the report is the job's",
        ));
    }
    let mut output = source::check_path("output", text)?;
    if output.is_dir() || text.ends_with(['/', '\\']) {
        output.push(format!("{name}{}", plan.extension()));
    }
    let (_, extension) = plan.extension().rsplit_once('.').unwrap_or_default();
    if !output.extension().is_some_and(|given| given.eq_ignore_ascii_case(extension)) {
        return Err(convert::invalid(
            format!("`output`: recipe `{}` makes .{extension} files, not {text}", plan.recipe),
            format!("end the name in .{extension}"),
        ));
    }
    if source == Some(output.as_path()) {
        return Err(convert::invalid(
            "`output` is the source itself".to_owned(),
            "give another name; sources are never overwritten",
        ));
    }
    Ok(output)
}

fn prepare(daemon: &Daemon, params: SubmitParams) -> Result<Submission, CallError> {
    if let Some(key) = &params.idempotency_key
        && (key.is_empty() || key.len() > LONGEST_KEY)
    {
        let message = format!("`idempotency_key`: expected 1 to {LONGEST_KEY} bytes, not {}", key.len());
        return Err(convert::invalid(message, "use a random number in hex"));
    }
    // Everything that can be wrong is found before the source is copied.
    let recipe = params.recipe.as_deref().map(|name| daemon.recipes.find(name)).transpose()?;
    let from = From::read("source", params.source)?;
    let against = params.against.map(|against| From::read("against", against)).transpose()?;
    let source = from.open(daemon)?;
    let recipe = match recipe {
        Some(recipe) => recipe,
        None => daemon.recipes.find(if source.is_mesh(daemon)? { recipes::MESH } else { recipes::DEFAULT })?,
    };
    let plan = plan(daemon, recipe, &params.set)?;
    let source_path = from.path();
    let output = match (&params.output, source_path) {
        (Some(output), _) => Some(check_output(output, &from.name(), source_path, &plan)?),
        (None, Some(path)) if plan.makes_file() => Some(beside(path, &plan)?),
        (None, _) => None,
    };
    let blob = match against {
        Some(against) => {
            let pair = pair::to_bytes(&source.mesh(daemon)?, &against.open(daemon)?.mesh(daemon)?)?;
            keep(daemon, "the two meshes", &pair)?
        }
        None => source.take(daemon)?,
    };
    Ok(Submission {
        source_sha256: blob.sha256,
        source_path: source_path.map(Path::to_owned),
        name: from.name(),
        plan,
        output,
        class: params.class,
        client: params.client.map(|client| client.chars().filter(|c| !c.is_control()).take(64).collect()),
        idempotency_key: params.idempotency_key,
        watch: None,
    })
}

/// The one source a submit names.
enum From {
    Path { path: PathBuf, name: Option<String> },
    Blob { digest: Digest, name: Option<String> },
}

impl From {
    /// `field` is what the client called it.
    fn read(field: &str, params: SourceParams) -> Result<From, CallError> {
        let name = params.name.as_deref().map(source::check_name).transpose()?;
        match (params.path, params.blob) {
            (Some(path), None) => Ok(From::Path { path: source::check_path(&format!("{field}.path"), &path)?, name }),
            (None, Some(blob)) => match blob.parse() {
                Ok(digest) => Ok(From::Blob { digest, name }),
                Err(e) => Err(convert::invalid(format!("`{field}.blob`: {e}"), "upload with PUT /blob/<sha256> first")),
            },
            _ => Err(CallError::Params {
                message: format!("`{field}`: expected exactly one of `path` and `blob`"),
                hint: "give the path of a picture, or the digest of one that was uploaded".to_owned(),
            }),
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            From::Path { path, .. } => Some(path),
            From::Blob { .. } => None,
        }
    }

    fn name(&self) -> String {
        match self {
            From::Path { name: Some(name), .. } | From::Blob { name: Some(name), .. } => name.clone(),
            From::Path { path, .. } => source::name_of(path),
            From::Blob { .. } => "asset".to_owned(),
        }
    }

    fn open(&self, daemon: &Daemon) -> Result<Opened, CallError> {
        match self {
            From::Path { path, .. } => match gather::mesh(path)? {
                Some(bundle) => Ok(Opened::Mesh(bundle)),
                None => Ok(Opened::File(path.clone())),
            },
            From::Blob { digest, .. } => {
                let missing = || {
                    let message = format!("there is no blob {digest}");
                    convert::not_found(message, "upload it with PUT /blob/<sha256> first")
                };
                let bytes = daemon.blobs.len(*digest).ok_or_else(missing)?;
                daemon.blobs.touch(*digest).map_err(|_| missing())?;
                Ok(Opened::Blob(*digest, bytes))
            }
        }
    }
}

/// What was found where the client pointed.
enum Opened {
    Mesh(Bundle),
    /// A picture, or something nobody knows.
    File(PathBuf),
    /// There to stay, with its length.
    Blob(Digest, u64),
}

impl Opened {
    fn is_mesh(&self, daemon: &Daemon) -> Result<bool, CallError> {
        Ok(match self {
            Opened::Mesh(_) => true,
            Opened::File(_) => false,
            Opened::Blob(digest, _) => import::sniff(Bundle::from_bytes(&read(daemon, *digest)?).main()).is_some(),
        })
    }

    /// What is no mesh is told so by the stage that reads it.
    fn mesh(self, daemon: &Daemon) -> Result<Bundle, CallError> {
        match self {
            Opened::Mesh(bundle) => Ok(bundle),
            Opened::File(path) => Err(convert::refused(
                ErrorKind::Unsupported,
                format!("{} is no mesh", path.display()),
                "give a GLB, glTF, OBJ, PLY or STL file",
            )),
            Opened::Blob(digest, _) => Ok(Bundle::from_bytes(&read(daemon, digest)?)),
        }
    }

    /// The source as a blob that is there to stay.
    fn take(self, daemon: &Daemon) -> Result<Blob, CallError> {
        match self {
            Opened::Mesh(bundle) => keep(daemon, "the mesh", &bundle.to_bytes()?),
            Opened::File(path) => source::snapshot(&daemon.blobs, &path),
            Opened::Blob(digest, bytes) => Ok(Blob { sha256: digest.to_string(), bytes }),
        }
    }
}

fn keep(daemon: &Daemon, what: &str, bytes: &[u8]) -> Result<Blob, CallError> {
    daemon.blobs.put(bytes).map_err(|e| source::put_failed(what, PutError::Write(e)))
}

fn read(daemon: &Daemon, digest: Digest) -> Result<Vec<u8>, CallError> {
    daemon.blobs.get(digest).map_err(|e| {
        convert::refused(ErrorKind::Storage, format!("blob {digest} cannot be read: {e}"), "upload it again")
    })
}

fn beside(source: &Path, plan: &Plan) -> Result<PathBuf, CallError> {
    let mut name = source.file_stem().unwrap_or_default().to_owned();
    name.push(plan.extension());
    let output = source.with_file_name(name);
    if output == source {
        return Err(convert::invalid(
            format!("the finished file would overwrite its source {}", source.display()),
            "give another `output`",
        ));
    }
    Ok(output)
}
