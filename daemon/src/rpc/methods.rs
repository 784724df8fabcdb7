//! Name to handler. `module` registers everything that `METHODS` lists, plus what
//! only a server has: `rpc.discover` and the subscription to events.
//!
//! A handler takes the daemon and typed parameters and gives a typed result or a
//! `CallError`. Parameters come by name; what is missing, unknown or of another
//! type is refused with the name of the field.

use std::{sync::Arc, time::Instant};

use jsonrpsee::{RpcModule, types::Params};
use meshkiln_protocol::api::{self, Method};
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use super::{
    Daemon, about, assets,
    convert::{CallError, to_wire},
    cutouts, events, jobs, nets, refire, submit, views, watches,
};

pub fn module(daemon: Arc<Daemon>) -> RpcModule<Daemon> {
    let mut module = RpcModule::from_arc(daemon);
    let on = &mut module;

    register::<api::Hello, _, _>(on, about::hello);
    register::<api::DaemonStatus, _, _>(on, about::status);
    register::<api::Doctor, _, _>(on, about::doctor);
    register::<api::Yield, _, _>(on, nets::give_away);
    register::<api::TakeBack, _, _>(on, nets::take_back);
    register::<api::Shutdown, _, _>(on, about::shutdown);

    register::<api::Submit, _, _>(on, submit::submit);
    register::<api::Refire, _, _>(on, refire::refire);
    register::<api::JobGet, _, _>(on, jobs::get);
    register::<api::JobList, _, _>(on, jobs::list);
    register::<api::JobWait, _, _>(on, jobs::wait);
    register::<api::JobCancel, _, _>(on, jobs::cancel);
    register::<api::JobRetry, _, _>(on, jobs::retry);
    register::<api::JobPause, _, _>(on, jobs::pause);
    register::<api::JobResume, _, _>(on, jobs::resume);
    register::<api::JobReclass, _, _>(on, jobs::reclass);
    register::<api::JobLogGet, _, _>(on, jobs::log);
    register::<api::JobClear, _, _>(on, jobs::clear);

    register::<api::QueuePause, _, _>(on, jobs::pause_queue);
    register::<api::QueueResume, _, _>(on, jobs::resume_queue);

    register::<api::AssetList, _, _>(on, assets::list);
    register::<api::AssetGet, _, _>(on, assets::get);
    register::<api::AssetView, _, _>(on, views::view);

    register::<api::CutoutOpen, _, _>(on, cutouts::open);
    register::<api::CutoutClick, _, _>(on, cutouts::click);
    register::<api::CutoutClose, _, _>(on, cutouts::close);

    register::<api::WatchAdd, _, _>(on, watches::add);
    register::<api::WatchListAll, _, _>(on, watches::list);
    register::<api::WatchRemove, _, _>(on, watches::remove);
    register::<api::WatchRescan, _, _>(on, watches::rescan);

    register::<api::RecipeListAll, _, _>(on, about::recipe_list);
    register::<api::RecipeGet, _, _>(on, about::recipe_get);
    register::<api::RecipeValidate, _, _>(on, about::recipe_validate);
    register::<api::StageListAll, _, _>(on, about::stage_list);

    register::<api::NetListAll, _, _>(on, nets::list);
    register::<api::NetGuide, _, _>(on, nets::guide);
    register::<api::NetPull, _, _>(on, nets::pull);
    register::<api::NetCancelPull, _, _>(on, nets::cancel_pull);
    register::<api::NetWarm, _, _>(on, nets::warm);
    register::<api::NetStop, _, _>(on, nets::stop);
    register::<api::NetRemove, _, _>(on, nets::remove);

    register::<api::EventsPoll, _, _>(on, events::poll);
    events::register_subscription(on);
    about::register_discover(on);
    module
}

/// `M` is answered by `handler`. Panics when the name is taken.
pub fn register<M, Handler, Answer>(module: &mut RpcModule<Daemon>, handler: Handler)
where
    M: Method,
    Handler: Fn(Arc<Daemon>, M::Params) -> Answer + Clone + Send + Sync + 'static,
    Answer: Future<Output = Result<M::Result, CallError>> + Send,
{
    let registered = module.register_async_method(M::NAME, move |params: Params<'static>, daemon, _| {
        let handler = handler.clone();
        let span = tracing::debug_span!("call", method = M::NAME);
        let answer = async move {
            let start = Instant::now();
            let answer = match read_params::<M::Params>(params.as_str()) {
                Ok(params) => handler(daemon, params).await,
                Err(error) => Err(error),
            };
            let elapsed_ms = start.elapsed().as_millis() as u64;
            match &answer {
                Ok(_) => tracing::debug!(elapsed_ms, "answered"),
                Err(error) => tracing::debug!(elapsed_ms, ?error, "refused"),
            }
            answer.map_err(to_wire)
        };
        answer.instrument(span)
    });
    registered.unwrap_or_else(|e| panic!("{}: {e}", M::NAME));
}

/// Named parameters; none at all are `{}`.
pub fn read_params<T: DeserializeOwned>(text: Option<&str>) -> Result<T, CallError> {
    let text = match text.map(str::trim) {
        None | Some("" | "null" | "[]") => "{}",
        Some(text) => text,
    };
    let wrong = |message: String| CallError::Params {
        message,
        hint: "`rpc.discover` describes the parameters of every method".to_owned(),
    };
    if text.starts_with('[') {
        return Err(wrong("parameters are given by name, in an object, not by position".to_owned()));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let params = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        let what = e.inner().to_string();
        // The line and column are those of one long line.
        let what = what.split(" at line ").next().unwrap_or_default();
        wrong(if path == "." { what.to_owned() } else { format!("`{path}`: {what}") })
    })?;
    reader.end().map_err(|_| wrong("there is something after the parameters".to_owned()))?;
    Ok(params)
}

/// Reads of the store and of files, away from the threads that answer.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(CallError::Panicked))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use meshkiln_protocol::job::{JobWaitParams, SubmitParams};

    use super::*;

    fn check<T: DeserializeOwned>(text: &str, expected: Expect) {
        match read_params::<T>(Some(text)).err().unwrap() {
            CallError::Params { message, .. } => expected.assert_eq(&message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wrong_parameters_are_named() {
        check::<JobWaitParams>("{}", expect!["missing field `id`"]);
        check::<JobWaitParams>(r#"{"id":"x"}"#, expect![[r#"`id`: invalid type: string "x", expected u64"#]]);
        check::<JobWaitParams>(
            r#"{"id":1,"tmeout_ms":1}"#,
            expect![[r#"`tmeout_ms`: unknown field `tmeout_ms`, expected `id` or `timeout_ms`"#]],
        );
        check::<JobWaitParams>("[1]", expect!["parameters are given by name, in an object, not by position"]);
        check::<JobWaitParams>("7", expect!["invalid type: integer `7`, expected struct JobWaitParams"]);
        check::<SubmitParams>(
            r#"{"source":{"path":7}}"#,
            expect!["`source.path`: invalid type: integer `7`, expected a string"],
        );
        check::<SubmitParams>(
            r#"{"source":{},"class":"now"}"#,
            expect!["`class`: unknown variant `now`, expected one of `interactive`, `watch`, `batch`"],
        );
    }

    #[test]
    fn no_parameters_are_an_empty_object() {
        for text in [None, Some(""), Some("null"), Some("[]"), Some(" {} ")] {
            assert!(read_params::<api::NoParams>(text).is_ok(), "{text:?}");
        }
    }
}
