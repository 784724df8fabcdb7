//! The nets that a worker holds, by the load that brought them. What a net is, is
//! for the store and the stage that uses it to know.

use std::{any::Any, collections::BTreeMap};

use meshkiln_models::{
    StageError,
    nets::{NetHandle, Nets, Precision, installed},
};

use super::{child::internal, frames::Failure};

/// Where nets come from.
pub trait NetStore: Send + Sync {
    /// Graph and weights of `net` in the memory of this worker's device. Failures that matter to the
    /// daemon: `OutOfMemory`, `WeightsMissing`, `WeightsDamaged`, `DeviceFault`, `Cancelled`.
    fn load(&mut self, net: &str) -> Result<Box<dyn Any + Send>, Failure>;

    /// For a run that asks for a warm net in another precision than it was loaded in: one of
    /// its own, gone with the run.
    fn load_as(&self, net: &str, precision: Precision) -> Result<NetHandle, StageError>;
}

/// A net as stages use it.
pub struct Warm {
    pub handle: NetHandle,
    pub precision: Precision,
}

/// Loaded nets, by id.
#[derive(Default)]
pub struct WarmNets(BTreeMap<String, (u64, Box<dyn Any + Send>)>);

impl WarmNets {
    pub fn load(&mut self, load: u64, net: &str, store: &mut dyn NetStore) -> Result<(), Failure> {
        if self.0.contains_key(net) {
            return Err(internal(format!("net `{net}` is loaded already")));
        }
        self.0.insert(net.to_owned(), (load, store.load(net)?));
        Ok(())
    }

    /// Only what this load brought: a later one of the same net stays.
    pub fn unload(&mut self, load: u64, net: &str) {
        if self.0.get(net).is_some_and(|(own, _)| *own == load) {
            self.0.remove(net);
        }
    }

    /// A net that a run names.
    pub fn get(&mut self, net: &str) -> Result<&mut (dyn Any + Send), Failure> {
        match self.0.get_mut(net) {
            Some((_, net)) => Ok(&mut **net),
            None => Err(internal(format!("net `{net}` is not loaded"))),
        }
    }

    /// What a run that names `nets` may ask for.
    pub fn given<'a>(&self, nets: &[String], store: &'a dyn NetStore) -> Given<'a> {
        let warm = nets.iter().filter_map(|id| {
            let (_, net) = self.0.get(id)?;
            let warm = net.downcast_ref::<Warm>()?;
            Some((id.clone(), (warm.handle.clone(), warm.precision)))
        });
        Given { warm: warm.collect(), store }
    }

    pub fn check(&self, nets: &[String]) -> Result<(), Failure> {
        match nets.iter().find(|net| !self.0.contains_key(*net)) {
            Some(net) => Err(internal(format!("net `{net}` is not loaded"))),
            None => Ok(()),
        }
    }
}

/// The nets of one run.
pub struct Given<'a> {
    warm: BTreeMap<String, (NetHandle, Precision)>,
    store: &'a dyn NetStore,
}

impl Nets for Given<'_> {
    fn net(&self, id: &str, precision: Option<Precision>) -> Result<NetHandle, StageError> {
        match (self.warm.get(id), precision) {
            (Some((handle, warm)), wanted) if wanted.is_none_or(|wanted| wanted == *warm) => Ok(handle.clone()),
            (Some(_), Some(wanted)) => self.store.load_as(id, wanted),
            (_, _) => Err(installed::not_here(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers(u32);

    impl NetStore for Numbers {
        fn load(&mut self, _: &str) -> Result<Box<dyn Any + Send>, Failure> {
            self.0 += 1;
            Ok(Box::new(self.0))
        }

        fn load_as(&self, net: &str, _: Precision) -> Result<NetHandle, StageError> {
            Err(installed::not_here(net))
        }
    }

    #[test]
    fn a_late_unload_does_not_hit_the_net_that_was_loaded_since() {
        let (mut nets, mut store) = (WarmNets::default(), Numbers(0));
        nets.load(1, "a", &mut store).unwrap();
        assert!(nets.load(2, "a", &mut store).is_err(), "it is there already");
        nets.unload(1, "a");
        assert_eq!(nets.get("a").err().unwrap().message, "net `a` is not loaded");
        nets.load(3, "a", &mut store).unwrap();
        nets.unload(1, "a");
        assert_eq!(nets.get("a").unwrap().downcast_ref(), Some(&2u32));
        assert!(nets.check(&["a".to_owned()]).is_ok() && nets.check(&["b".to_owned()]).is_err());
    }
}
