//! The pickle machine, on plain data: a stack, a memo, and an arena of values.
//!
//! Instructions as in CPython's Lib/pickletools.py, those of protocols 2 to 5
//! that torch writes. Nothing is called: what a `REDUCE` builds is decided by
//! the closed list in `global`. Memory is bounded by the length of the stream
//! and by [`MAX_VALUES`]; a length in the stream allocates nothing by itself.

use std::{collections::HashMap, io::Read};

use super::{
    MAX_PICKLE, Result, WeightsError,
    build::Built,
    global::{self, Global},
    tensors::Declared,
};

/// Place of a value in the arena.
pub type Id = u32;

/// Most values one checkpoint may make: 64 MB of arena.
const MAX_VALUES: usize = 2_000_000;

#[derive(Debug, Clone)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// Little-endian two's complement, longer than 8 bytes.
    BigInt(Box<[u8]>),
    /// Floats and raw bytes: read, never needed.
    Opaque,
    Text(Box<str>),
    Tuple(Box<[Id]>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// Index into [`Declared::storages`], and the part of it that is meant, in bytes.
    Storage(Box<StorageRef>),
    /// Index into [`Declared::tensors`].
    Tensor(usize),
}

#[derive(Debug, Clone, Copy)]
pub struct StorageRef {
    pub storage: usize,
    pub offset: u64,
    pub n_bytes: u64,
}

/// Runs pickle streams one after the other; values live as long as the machine.
pub struct Machine<'a> {
    pub file: &'a str,
    pub values: Vec<Value>,
    pub declared: Declared,
}

/// One run over one stream.
struct Run<'m, 'a> {
    machine: &'m mut Machine<'a>,
    input: Input<'m>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

struct Input<'m> {
    bytes: &'m mut dyn Read,
    at: u64,
}

impl<'a> Machine<'a> {
    pub fn new(file: &'a str) -> Self {
        Self { file, values: Vec::new(), declared: Declared::default() }
    }

    /// Runs one stream to its `STOP`; returns its value and the bytes it took.
    pub fn run(&mut self, bytes: &mut dyn Read) -> Result<(Id, u64)> {
        let input = Input { bytes, at: 0 };
        let mut run = Run { machine: self, input, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
        loop {
            let op = run.byte()?;
            if op == b'.' {
                let result = run.pop()?;
                return Ok((result, run.input.at));
            }
            run.step(op)?;
        }
    }

    pub fn get(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) => Some(items),
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whole numbers from 0.
    pub fn unsigned(&self, id: Id) -> Option<u64> {
        match self.get(id) {
            Value::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    pub fn damaged(&self, what: impl Into<String>) -> WeightsError {
        WeightsError::Damaged { file: self.file.to_owned(), what: what.into() }
    }

    pub fn unsupported(&self, found: impl Into<String>, hint: &'static str) -> WeightsError {
        WeightsError::Unsupported { file: self.file.to_owned(), found: found.into(), hint }
    }
}

impl Run<'_, '_> {
    fn step(&mut self, op: u8) -> Result<()> {
        let value = match op {
            0x80 => return self.skip(1), // protocol
            0x95 => return self.skip(8), // frame: only a hint to buffer
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(());
            }
            b'0' => return self.pop().map(drop),
            b'1' => return self.pop_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                return Ok(());
            }
            b'q' => return self.byte().and_then(|at| self.put(at.into())),
            b'r' => return self.u32().and_then(|at| self.put(at)),
            0x94 => return self.put(self.memo.len() as u32),
            b'h' => return self.byte().and_then(|at| self.recall(at.into())),
            b'j' => return self.u32().and_then(|at| self.recall(at)),
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            0x8a => {
                let n = self.byte()?.into();
                long(self.bytes(n)?)
            }
            0x8b => {
                let n = self.u32()?.into();
                long(self.bytes(n)?)
            }
            b'G' => self.skip(8).map(|()| Value::Opaque)?,
            b'X' => {
                let n = self.u32()?.into();
                self.string(n)?
            }
            0x8c | b'U' => {
                let n = self.byte()?.into();
                self.string(n)?
            }
            0x8d => {
                let n = u64::from_le_bytes(self.array()?);
                self.string(n)?
            }
            b'T' => {
                let n = self.u32()?.into();
                self.string(n)?
            }
            b'C' => {
                let n = self.byte()?.into();
                self.bytes(n).map(|_| Value::Opaque)?
            }
            b'B' => {
                let n = self.u32()?.into();
                self.bytes(n).map(|_| Value::Opaque)?
            }
            0x8e | 0x96 => {
                let n = u64::from_le_bytes(self.array()?);
                self.bytes(n).map(|_| Value::Opaque)?
            }
            b')' => Value::Tuple(Box::default()),
            b't' => Value::Tuple(self.pop_mark()?.into()),
            0x85..=0x87 => Value::Tuple(self.pop_n((op - 0x84).into())?.into()),
            b']' | 0x8f => Value::List(Vec::new()),
            b'l' => Value::List(self.pop_mark()?),
            b'}' => Value::Dict(Vec::new()),
            b'd' => {
                let items = self.pop_mark()?;
                Value::Dict(self.pairs(&items)?)
            }
            b'a' => {
                let item = self.pop()?;
                return self.extend(&[item]);
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                return self.extend(&items);
            }
            b's' => {
                let items = self.pop_n(2)?;
                return self.insert(&items);
            }
            b'u' => {
                let items = self.pop_mark()?;
                return self.insert(&items);
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?
            }
            0x93 => {
                let ids = self.pop_n(2)?;
                let (Some(module), Some(name)) = (self.machine.text(ids[0]), self.machine.text(ids[1])) else {
                    return Err(self.machine.damaged("a name is not text"));
                };
                let (module, name) = (module.to_owned(), name.to_owned());
                self.global(&module, &name)?
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                return Err(self.runs_code(&module, &name));
            }
            b'R' | 0x81 => {
                let ids = self.pop_n(2)?;
                let built = self.machine.call(ids[0], ids[1])?;
                match built {
                    Built::New(value) => value,
                    Built::Same(id) => {
                        self.stack.push(id);
                        return Ok(());
                    }
                }
            }
            b'b' => {
                // Attributes: `_metadata` of a state dict, or what was hung on a tensor. None is needed.
                self.pop()?;
                let top = self.top()?;
                return match self.machine.get(top) {
                    Value::Dict(_) | Value::Tensor(_) => Ok(()),
                    _ => Err(self.machine.damaged("attributes are set on something that has none")),
                };
            }
            b'Q' => {
                let id = self.pop()?;
                self.machine.storage(id)?
            }
            b'o' | 0x92 | 0x82..=0x84 | b'P' | b'p' | b'g' | b'I' | b'L' | b'F' | b'S' | b'V' | 0x91 | 0x97 | 0x98 => {
                let found = format!("the pickle instruction 0x{op:02x} (byte {})", self.input.at - 1);
                return Err(self.machine.unsupported(found, "save the checkpoint again with a current torch"));
            }
            _ => {
                let what = format!("0x{op:02x} at byte {} is no pickle instruction", self.input.at - 1);
                return Err(self.machine.damaged(what));
            }
        };
        let id = self.machine.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn global(&self, module: &str, name: &str) -> Result<Value> {
        match global::find(module, name) {
            Some(found) => Ok(Value::Global(found)),
            None if global::is_unsupported_data(module, name) => Err(self.machine.unsupported(
                format!("`{module}.{name}`"),
                "only dense tensors of real numbers are read; convert the checkpoint first",
            )),
            None => Err(self.runs_code(module, name)),
        }
    }

    fn runs_code(&self, module: &str, name: &str) -> WeightsError {
        let short = |text: &str| text.chars().take(80).collect::<String>();
        let global = format!("{}.{}", short(module), short(name));
        WeightsError::RunsCode { file: self.machine.file.to_owned(), global }
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>> {
        match items.as_chunks() {
            (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
            _ => Err(self.machine.damaged("a dictionary has a key without a value")),
        }
    }

    fn insert(&mut self, items: &[Id]) -> Result<()> {
        let new = self.pairs(items)?;
        let top = self.top()?;
        match &mut self.machine.values[top as usize] {
            Value::Dict(pairs) => pairs.extend(new),
            _ => return Err(self.machine.damaged("items are set on something that is no dictionary")),
        }
        Ok(())
    }

    fn extend(&mut self, items: &[Id]) -> Result<()> {
        let top = self.top()?;
        match &mut self.machine.values[top as usize] {
            Value::List(list) => list.extend(items),
            _ => return Err(self.machine.damaged("items are added to something that is no list")),
        }
        Ok(())
    }

    fn put(&mut self, at: u32) -> Result<()> {
        let top = self.top()?;
        if self.memo.len() >= MAX_VALUES {
            return Err(self.machine.too_many());
        }
        self.memo.insert(at, top);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Result<()> {
        match self.memo.get(&at) {
            Some(id) => self.stack.push(*id),
            None => return Err(self.machine.damaged(format!("value {at} is used before it is there"))),
        }
        Ok(())
    }

    /// Lowest place of the stack that may be taken from: what is below a mark waits for its end.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id> {
        match self.stack.last() {
            Some(id) if self.stack.len() > self.floor() => Ok(*id),
            _ => Err(self.machine.damaged("the pickle takes more values than it has")),
        }
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_n(&mut self, n: usize) -> Result<Vec<Id>> {
        match self.stack.len().checked_sub(n) {
            Some(from) if from >= self.floor() => Ok(self.stack.split_off(from)),
            _ => Err(self.machine.damaged("the pickle takes more values than it has")),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(from) => Ok(self.stack.split_off(from)),
            None => Err(self.machine.damaged("the pickle ends a group that it did not begin")),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn skip(&mut self, n: usize) -> Result<()> {
        self.bytes(n as u64).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.account(N as u64)?;
        self.input.bytes.read_exact(&mut bytes).map_err(|error| WeightsError::io(self.machine.file, &error))?;
        Ok(bytes)
    }

    /// Grows with what is really there.
    fn bytes(&mut self, n: u64) -> Result<Vec<u8>> {
        self.account(n)?;
        let mut bytes = Vec::new();
        let read = (&mut *self.input.bytes).take(n).read_to_end(&mut bytes);
        match read.map_err(|error| WeightsError::io(self.machine.file, &error))? as u64 {
            found if found == n => Ok(bytes),
            found => Err(WeightsError::Truncated {
                file: self.machine.file.to_owned(),
                what: format!("{n} bytes of text or data were announced, {found} are there"),
            }),
        }
    }

    fn account(&mut self, n: u64) -> Result<()> {
        self.input.at = self.input.at.saturating_add(n);
        match self.input.at {
            at if at > MAX_PICKLE => Err(WeightsError::TooLarge {
                file: self.machine.file.to_owned(),
                what: "the length of the pickle".to_owned(),
                found: at,
                limit: MAX_PICKLE,
            }),
            _ => Ok(()),
        }
    }

    fn string(&mut self, n: u64) -> Result<Value> {
        match String::from_utf8(self.bytes(n)?) {
            Ok(text) => Ok(Value::Text(text.into())),
            Err(_) => Ok(Value::Opaque), // Python 2 strings may hold anything
        }
    }

    /// A name that ends with its line.
    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                _ if line.len() >= 1024 => return Err(self.machine.damaged("a name has no end")),
                byte => line.push(byte),
            }
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

impl Machine<'_> {
    fn add(&mut self, value: Value) -> Result<Id> {
        if self.values.len() >= MAX_VALUES {
            return Err(self.too_many());
        }
        self.values.push(value);
        Ok(self.values.len() as Id - 1)
    }

    fn too_many(&self) -> WeightsError {
        let (found, limit) = (MAX_VALUES as u64 + 1, MAX_VALUES as u64);
        WeightsError::TooLarge { file: self.file.to_owned(), what: "the number of values".to_owned(), found, limit }
    }
}

fn long(bytes: Vec<u8>) -> Value {
    if bytes.len() > 8 {
        return Value::BigInt(bytes.into());
    }
    let sign = if bytes.last().is_some_and(|top| top & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 8];
    wide[..bytes.len()].copy_from_slice(&bytes);
    Value::Int(i64::from_le_bytes(wide))
}
