//! `cutout.*`: pictures that clients point at (state/sessions.rs, worker/looks.rs).

use std::{sync::Arc, time::Instant};

use meshkiln_models::{
    recipe::{PlannedStep, Recipe},
    stages::cutout::{clicks::MAX_POINTS, sam},
};
use meshkiln_protocol::{
    api::Empty,
    cutout::{
        CutoutClickParams, CutoutCloseParams, CutoutFrame, CutoutMasks, CutoutOpenParams, CutoutPoint, CutoutSession,
    },
    error::ErrorKind,
};

use super::{
    Daemon,
    convert::{self, CallError},
    jobs,
    methods::blocking,
    submit,
};
use crate::{
    main_loop::{Answer, Call, Opened},
    state::sessions::LIFE,
    store::blobs::Blob,
    worker::frames::{Looked, Prompt},
};

/// Beyond any picture.
const MAX_PIXELS: f32 = 65536.0;

pub async fn open(daemon: Arc<Daemon>, params: CutoutOpenParams) -> Result<CutoutSession, CallError> {
    let started = Instant::now();
    let here = daemon.clone();
    let (call, blob) = blocking(move || prepare(&here, &params)).await?;
    tracing::debug!(bytes = blob.bytes, "a picture is opened for cutouts");
    let (opened, looked) = ask(&daemon, call).await?;
    Ok(CutoutSession {
        session: opened.session,
        engine: opened.engine.to_owned(),
        net: opened.net,
        width: looked.width,
        height: looked.height,
        expires_in_ms: LIFE.as_millis() as u64,
        elapsed_ms: started.elapsed().as_millis() as u64,
    })
}

pub async fn click(daemon: Arc<Daemon>, params: CutoutClickParams) -> Result<CutoutMasks, CallError> {
    let started = Instant::now();
    check(&params)?;
    let CutoutClickParams { session, points, frame } = params;
    let prompt = Prompt { points, frame };
    let (opened, looked) = ask(&daemon, Call::Click { session, prompt: prompt.clone() }).await?;
    Ok(CutoutMasks {
        set: settings(&opened, &prompt, &looked),
        masks: looked.masks,
        width: looked.mask_width,
        height: looked.mask_height,
        embedded: looked.embedded,
        elapsed_ms: started.elapsed().as_millis() as u64,
    })
}

pub async fn close(daemon: Arc<Daemon>, params: CutoutCloseParams) -> Result<Empty, CallError> {
    match daemon.backend.call(Call::CloseCutout(params.session)).await? {
        Answer::Done => Ok(Empty {}),
        other => Err(jobs::unexpected(other)),
    }
}

async fn ask(daemon: &Daemon, call: Call) -> Result<(Opened, Looked), CallError> {
    match daemon.backend.call(call).await? {
        Answer::Cutout(opened, looked) => Ok((opened, looked)),
        other => Err(jobs::unexpected(other)),
    }
}

/// Everything that can be wrong is found before the picture is copied.
fn prepare(daemon: &Daemon, params: &CutoutOpenParams) -> Result<(Call, Blob), CallError> {
    let step = step(daemon, params)?;
    let net = step.own_net().unwrap_or(step.engine).to_owned();
    if !daemon.catalogue.is_here(&net) {
        return Err(convert::refused(
            ErrorKind::WeightsMissing,
            format!("the weights of network `{net}` are not here"),
            format!("fetch them with `meshkiln pull {net}`"),
        ));
    }
    let blob = submit::picture(daemon, params.source.clone())?;
    Ok((Call::OpenCutout { engine: step.engine, net, source_sha256: blob.sha256.clone() }, blob))
}

/// The step that would cut out what is pointed at.
fn step(daemon: &Daemon, params: &CutoutOpenParams) -> Result<PlannedStep, CallError> {
    let recipe = Recipe::built_in("cutout").ok_or_else(|| no_clicks("nothing"))?;
    let named = [("engine", &params.engine), ("net", &params.net)];
    let mut set: Vec<String> =
        named.iter().filter_map(|(key, id)| Some(format!("cutout.{key}={}", id.as_ref()?))).collect();
    if set.is_empty() {
        // Some place, so that an engine is chosen which takes any.
        set.push("cutout.points=0.5,0.5".to_owned());
    }
    let plan = submit::plan(daemon, recipe, &set)?;
    let step = plan.steps.into_iter().find(|step| step.stage == "cutout").ok_or_else(|| no_clicks("nothing"))?;
    if sam::IDS.contains(&step.engine) { Ok(step) } else { Err(no_clicks(step.engine)) }
}

fn no_clicks(engine: &str) -> CallError {
    convert::refused(
        ErrorKind::Unsupported,
        format!("engine `{engine}` of `cutout` takes no points"),
        format!("choose one of {}", sam::IDS.join(", ")),
    )
}

fn check(params: &CutoutClickParams) -> Result<(), CallError> {
    let wrong = |message: String| {
        let hint = "`rpc.discover` describes the parameters of every method".to_owned();
        Err(CallError::Params { message, hint })
    };
    if params.points.is_empty() && params.frame.is_none() {
        return wrong("`points` and `frame` are both empty: nothing is pointed at".to_owned());
    }
    if params.points.len() > MAX_POINTS {
        return wrong(format!("`points`: there are {}, at most {MAX_POINTS} are taken", params.points.len()));
    }
    let is_place = |v: &f32| (0.0..=MAX_PIXELS).contains(v);
    if let Some(CutoutPoint { x, y, .. }) =
        params.points.iter().find(|point| !is_place(&point.x) || !is_place(&point.y))
    {
        return wrong(format!("`points`: {x},{y} is no place on a picture"));
    }
    match params.frame {
        Some(CutoutFrame { left, top, right, bottom })
            if ![left, top, right, bottom].iter().all(is_place) || left >= right || top >= bottom =>
        {
            wrong(format!(
                "`frame`: {left},{top},{right},{bottom} does not have left before right and top before bottom"
            ))
        }
        _ => Ok(()),
    }
}

/// Settings of a job that cuts out the same. In shares: a job may work on a smaller picture.
fn settings(opened: &Opened, prompt: &Prompt, looked: &Looked) -> Vec<String> {
    let share = |v: f32, of: u32| (v / of as f32).min(1.0).to_string();
    let places = |x: f32, y: f32| format!("{},{}", share(x, looked.width), share(y, looked.height));
    let mut set = vec![format!("cutout.engine={}", opened.engine)];
    if opened.net != opened.engine {
        set.push(format!("cutout.net={}", opened.net));
    }
    if !prompt.points.is_empty() {
        let point = |p: &CutoutPoint| format!("{}{}", if p.object { "" } else { "-" }, places(p.x, p.y));
        set.push(format!("cutout.points={}", prompt.points.iter().map(point).collect::<Vec<_>>().join(" ")));
    }
    if let Some(CutoutFrame { left, top, right, bottom }) = prompt.frame {
        set.push(format!("cutout.frame={},{}", places(left, top), places(right, bottom)));
    }
    set
}
