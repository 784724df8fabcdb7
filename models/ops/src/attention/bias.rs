//! What scores gain by where query and key lie in their window.

/// Added to the scaled scores, before the softmax. Windows all have the same.
#[derive(Clone, Copy, Debug)]
pub enum Bias<'a> {
    None,
    /// `[heads, queries, keys]` of a window.
    Table(&'a [f32]),
    /// Of positions on a grid of `height` x `width`, row by row, one number for how many rows the
    /// key is below the query and one for how many columns it is right of it.
    /// `offsets`: `[heads, q.n, (2 * height - 1) + (2 * width - 1)]`, of each query its own, those
    /// of `-(height - 1)` rows and `-(width - 1)` columns first.
    Axes {
        offsets: &'a [f32],
        height: usize,
        width: usize,
    },
}

/// Which query it is.
#[derive(Clone, Copy)]
pub(super) struct Query {
    pub head: usize,
    /// Among all.
    pub row: usize,
    /// In its window.
    pub place: usize,
}

impl Bias<'_> {
    /// # Panics
    /// Unless it is for windows of `queries` and `keys`.
    pub(super) fn check(&self, heads: usize, rows: usize, queries: usize, keys: usize) {
        match *self {
            Bias::None => {}
            Bias::Table(table) => assert!(
                table.len() == heads * queries * keys,
                "{} biases for {heads} heads, {queries} queries and {keys} keys",
                table.len()
            ),
            Bias::Axes { offsets, height, width } => assert!(
                queries == height * width && keys == queries && offsets.len() == heads * rows * stride(height, width),
                "{} offsets for {heads} heads, {rows} queries and windows of {height} x {width}",
                offsets.len()
            ),
        }
    }

    /// Adds to `scores` of a query and the keys from `first` on, in powers of two; `rows` are all
    /// queries of a head, `keys` those of a window.
    pub(super) fn add(&self, query: Query, rows: usize, first: usize, keys: usize, queries: usize, scores: &mut [f32]) {
        const FACTOR: f32 = std::f32::consts::LOG2_E;
        let Query { head, row, place } = query;
        match *self {
            Bias::None => {}
            Bias::Table(table) => {
                let bias = &table[(head * queries + place) * keys + first..][..scores.len()];
                scores.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias * FACTOR);
            }
            Bias::Axes { offsets, height, width } => {
                let own = &offsets[(head * rows + row) * stride(height, width)..][..stride(height, width)];
                let (down, right) = own.split_at(2 * height - 1);
                let (down, right) = (&down[height - 1 - place / width..], &right[width - 1 - place % width..]);
                let mut at = 0;
                while at < scores.len() {
                    let (y, x) = ((first + at) / width, (first + at) % width);
                    let n = (width - x).min(scores.len() - at);
                    let line = &mut scores[at..at + n];
                    line.iter_mut().zip(&right[x..]).for_each(|(score, bias)| *score += (down[y] + bias) * FACTOR);
                    at += n;
                }
            }
        }
    }
}

fn stride(height: usize, width: usize) -> usize {
    2 * height - 1 + 2 * width - 1
}
