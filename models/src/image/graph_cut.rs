//! Minimum cut of a set of pixels, connected to their eight neighbours, with a
//! source and a sink.
//!
//! Boykov and Kolmogorov, "An experimental comparison of min-cut/max-flow
//! algorithms for energy minimization in vision", 2004: two search trees, kept
//! between augmentations. Capacities are whole numbers, so the result is exact
//! and the same everywhere.

use std::collections::VecDeque;

/// Steps to the eight neighbours; direction `d ^ 1` is the opposite of `d`.
pub const DIRECTIONS: [(i32, i32); 8] = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (-1, 1), (1, -1)];

/// How many nodes are grown between two looks at `poll`.
const POLL_INTERVAL: u32 = 4096;

/// Parent of a node whose tree's root is its terminal, or that has none.
const TERMINAL: u8 = 8;
const ORPHAN: u8 = 9;
const NONE: u8 = 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Free,
    Source,
    Sink,
}

/// Nodes are some of the pixels of a picture, addressed by column and row.
pub struct GridGraph {
    width: usize,
    /// The node of each pixel. Pixels without one share the last node, which has no edges.
    nodes: Vec<u32>,
    neighbours: Vec<[u32; 8]>,
    /// Residual capacity towards each neighbour.
    edges: Vec<[i32; 8]>,
    /// Residual capacity from the source (positive) or to the sink (negative).
    terminals: Vec<i32>,
    tree: Vec<Tree>,
    parent: Vec<u8>,
    /// Distance to the root, and when it was last known to be right.
    distance: Vec<u32>,
    stamp: Vec<u32>,
    queued: Vec<bool>,
    active: VecDeque<u32>,
    orphans: VecDeque<u32>,
    time: u32,
    flow: i64,
}

impl GridGraph {
    /// A graph of some pixels of a picture, without edges. `members` are their
    /// indices, row by row, each once.
    pub fn new(width: usize, height: usize, members: &[u32]) -> Self {
        let n_nodes = members.len();
        let mut nodes = vec![n_nodes as u32; width * height];
        for (node, pixel) in members.iter().enumerate() {
            nodes[*pixel as usize] = node as u32;
        }
        let mut neighbours = Vec::with_capacity(n_nodes + 1);
        for pixel in members {
            let (x, y) = (*pixel as usize % width, *pixel as usize / width);
            neighbours.push(DIRECTIONS.map(|(dx, dy)| {
                match (x.checked_add_signed(dx as isize), y.checked_add_signed(dy as isize)) {
                    (Some(x), Some(y)) if x < width && y < height => nodes[y * width + x],
                    _ => n_nodes as u32,
                }
            }));
        }
        neighbours.push([n_nodes as u32; 8]);
        let n = n_nodes + 1;
        Self {
            width,
            nodes,
            neighbours,
            edges: vec![[0; 8]; n],
            terminals: vec![0; n],
            tree: vec![Tree::Free; n],
            parent: vec![NONE; n],
            distance: vec![0; n],
            stamp: vec![0; n],
            queued: vec![false; n],
            active: VecDeque::new(),
            orphans: VecDeque::new(),
            time: 0,
            flow: 0,
        }
    }

    fn node(&self, x: usize, y: usize) -> usize {
        let node = self.nodes[y * self.width + x] as usize;
        debug_assert!(node + 1 < self.edges.len(), "pixel {x}, {y} is not in the graph");
        node
    }

    fn neighbour(&self, node: usize, direction: usize) -> usize {
        self.neighbours[node][direction] as usize
    }

    /// Adds capacity from the source and to the sink, neither negative. What is
    /// in both flows through at once.
    pub fn add_terminals(&mut self, x: usize, y: usize, from_source: i32, to_sink: i32) {
        let node = self.node(x, y);
        let before = self.terminals[node];
        let (source, sink) = (from_source + before.max(0), to_sink + (-before).max(0));
        self.flow += i64::from(source.min(sink));
        self.terminals[node] = source - sink;
    }

    /// Sets the capacity between a node and its neighbour in `direction`, the
    /// same both ways, not negative. Both pixels must be in the graph.
    pub fn set_edge(&mut self, x: usize, y: usize, direction: usize, capacity: i32) {
        let node = self.node(x, y);
        let neighbour = self.neighbour(node, direction);
        self.edges[node][direction] = capacity;
        self.edges[neighbour][direction ^ 1] = capacity;
    }

    /// Whether the node stays with the source; known after `cut`. Nodes that
    /// could be on either side count as the sink's.
    pub fn is_source(&self, x: usize, y: usize) -> bool {
        self.tree[self.node(x, y)] == Tree::Source
    }

    /// Finds the minimum cut and returns its capacity. `poll` is called every few
    /// milliseconds; its error ends the search.
    pub fn cut<E>(&mut self, poll: impl Fn() -> Result<(), E>) -> Result<i64, E> {
        for node in 0..self.terminals.len() {
            let terminal = self.terminals[node];
            if terminal != 0 {
                self.tree[node] = if terminal > 0 { Tree::Source } else { Tree::Sink };
                self.parent[node] = TERMINAL;
                self.distance[node] = 1;
                self.activate(node);
            }
        }

        let mut until_poll = POLL_INTERVAL;
        while let Some(node) = self.active.pop_front() {
            let node = node as usize;
            self.queued[node] = false;
            // A node that found a path may find more: it is grown until it finds none.
            while self.parent[node] != NONE {
                until_poll -= 1;
                if until_poll == 0 {
                    until_poll = POLL_INTERVAL;
                    poll()?;
                }
                let Some((from, direction)) = self.grow(node) else { break };
                self.time += 1;
                self.augment(from, direction);
                while let Some(orphan) = self.orphans.pop_front() {
                    self.adopt(orphan as usize);
                }
            }
        }
        Ok(self.flow)
    }

    fn activate(&mut self, node: usize) {
        if !self.queued[node] {
            self.queued[node] = true;
            self.active.push_back(node as u32);
        }
    }

    /// Lets the tree of `node` take its free neighbours. Returns the edge, from
    /// the source's side, on which the trees met.
    fn grow(&mut self, node: usize) -> Option<(usize, usize)> {
        let tree = self.tree[node];
        for direction in 0..8 {
            let neighbour = self.neighbour(node, direction);
            if self.capacity_from_root(tree, node, direction) == 0 {
                continue;
            }
            match self.tree[neighbour] {
                Tree::Free => {
                    self.tree[neighbour] = tree;
                    self.parent[neighbour] = (direction ^ 1) as u8;
                    self.distance[neighbour] = self.distance[node] + 1;
                    self.stamp[neighbour] = self.stamp[node];
                    self.activate(neighbour);
                }
                other if other != tree => {
                    return Some(match tree {
                        Tree::Source => (node, direction),
                        _ => (neighbour, direction ^ 1),
                    });
                }
                _ => {
                    if self.stamp[neighbour] <= self.stamp[node] && self.distance[neighbour] > self.distance[node] + 1 {
                        self.parent[neighbour] = (direction ^ 1) as u8;
                        self.stamp[neighbour] = self.stamp[node];
                        self.distance[neighbour] = self.distance[node] + 1;
                    }
                }
            }
        }
        None
    }

    /// Residual capacity between `node` and a child in `direction`, in the sense
    /// in which the tree's flow runs.
    fn capacity_from_root(&self, tree: Tree, node: usize, direction: usize) -> i32 {
        match tree {
            Tree::Source => self.edges[node][direction],
            _ => self.edges[self.neighbour(node, direction)][direction ^ 1],
        }
    }

    /// Pushes as much as fits from the source through `from` and its neighbour in
    /// `direction` to the sink. Nodes cut off from their root become orphans.
    fn augment(&mut self, from: usize, direction: usize) {
        let to = self.neighbour(from, direction);
        let mut bottleneck = self.edges[from][direction];
        let mut node = from;
        while self.parent[node] != TERMINAL {
            let up = usize::from(self.parent[node]);
            let parent = self.neighbour(node, up);
            bottleneck = bottleneck.min(self.edges[parent][up ^ 1]);
            node = parent;
        }
        bottleneck = bottleneck.min(self.terminals[node]);
        node = to;
        while self.parent[node] != TERMINAL {
            let up = usize::from(self.parent[node]);
            bottleneck = bottleneck.min(self.edges[node][up]);
            node = self.neighbour(node, up);
        }
        bottleneck = bottleneck.min(-self.terminals[node]);

        self.edges[from][direction] -= bottleneck;
        self.edges[to][direction ^ 1] += bottleneck;
        node = from;
        while self.parent[node] != TERMINAL {
            let up = usize::from(self.parent[node]);
            let parent = self.neighbour(node, up);
            self.edges[node][up] += bottleneck;
            self.edges[parent][up ^ 1] -= bottleneck;
            if self.edges[parent][up ^ 1] == 0 {
                self.orphan(node);
            }
            node = parent;
        }
        self.terminals[node] -= bottleneck;
        if self.terminals[node] == 0 {
            self.orphan(node);
        }
        node = to;
        while self.parent[node] != TERMINAL {
            let up = usize::from(self.parent[node]);
            let parent = self.neighbour(node, up);
            self.edges[parent][up ^ 1] += bottleneck;
            self.edges[node][up] -= bottleneck;
            if self.edges[node][up] == 0 {
                self.orphan(node);
            }
            node = parent;
        }
        self.terminals[node] += bottleneck;
        if self.terminals[node] == 0 {
            self.orphan(node);
        }
        self.flow += i64::from(bottleneck);
    }

    fn orphan(&mut self, node: usize) {
        self.parent[node] = ORPHAN;
        self.orphans.push_front(node as u32);
    }

    /// Finds a new parent for `node` in its tree, the nearest to the root, or
    /// frees it and makes its children orphans.
    fn adopt(&mut self, node: usize) {
        let tree = self.tree[node];
        let mut best: Option<(u32, usize)> = None;
        for direction in 0..8 {
            let neighbour = self.neighbour(node, direction);
            if self.tree[neighbour] != tree || self.capacity_to_child(tree, node, direction) == 0 {
                continue;
            }
            if let Some(distance) = self.distance_to_root(neighbour)
                && best.is_none_or(|(least, _)| distance < least)
            {
                best = Some((distance, direction));
            }
        }
        if let Some((distance, direction)) = best {
            self.parent[node] = direction as u8;
            self.stamp[node] = self.time;
            self.distance[node] = distance + 1;
            return;
        }

        for direction in 0..8 {
            let neighbour = self.neighbour(node, direction);
            if self.tree[neighbour] != tree {
                continue;
            }
            if self.capacity_to_child(tree, node, direction) > 0 {
                self.activate(neighbour);
            }
            if usize::from(self.parent[neighbour]) == direction ^ 1 {
                self.parent[neighbour] = ORPHAN;
                self.orphans.push_back(neighbour as u32);
            }
        }
        self.tree[node] = Tree::Free;
        self.parent[node] = NONE;
    }

    /// Residual capacity with which the neighbour in `direction` could feed `node`.
    fn capacity_to_child(&self, tree: Tree, node: usize, direction: usize) -> i32 {
        match tree {
            Tree::Source => self.edges[self.neighbour(node, direction)][direction ^ 1],
            _ => self.edges[node][direction],
        }
    }

    /// Steps from `node` to its root, `None` when an orphan is on the way. What is
    /// learnt is written down for the next walk.
    fn distance_to_root(&mut self, node: usize) -> Option<u32> {
        let mut steps = 0;
        let mut at = node;
        let distance = loop {
            if self.stamp[at] == self.time {
                break steps + self.distance[at];
            }
            match self.parent[at] {
                TERMINAL => {
                    self.stamp[at] = self.time;
                    self.distance[at] = 1;
                    break steps + 1;
                }
                ORPHAN | NONE => return None,
                up => at = self.neighbour(at, usize::from(up)),
            }
            steps += 1;
        };
        let mut left = distance;
        at = node;
        while self.stamp[at] != self.time {
            self.stamp[at] = self.time;
            self.distance[at] = left;
            left -= 1;
            at = self.neighbour(at, usize::from(self.parent[at]));
        }
        Some(distance)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    struct Problem {
        width: usize,
        height: usize,
        source: Vec<i32>,
        sink: Vec<i32>,
        /// Node, direction (even ones), capacity.
        edges: Vec<(usize, usize, i32)>,
    }

    impl Problem {
        fn random(rng: &mut fastrand::Rng, width: usize, height: usize, max_edge: i32) -> Problem {
            let n_nodes = width * height;
            let mut edges = Vec::new();
            for node in 0..n_nodes {
                for direction in [0, 2, 4, 6] {
                    if neighbour(node, direction, width, height).is_some() {
                        edges.push((node, direction, rng.i32(0..=max_edge)));
                    }
                }
            }
            let mut terminal = || (0..n_nodes).map(|_| if rng.bool() { rng.i32(0..10) } else { 0 }).collect();
            Problem { width, height, source: terminal(), sink: terminal(), edges }
        }

        fn cost(&self, in_source: impl Fn(usize) -> bool) -> i64 {
            let mut cost = 0;
            for node in 0..self.source.len() {
                cost += i64::from(if in_source(node) { self.sink[node] } else { self.source[node] });
            }
            for &(node, direction, capacity) in &self.edges {
                let other = neighbour(node, direction, self.width, self.height).unwrap();
                if in_source(node) != in_source(other) {
                    cost += i64::from(capacity);
                }
            }
            cost
        }

        fn solve(&self) -> (i64, Vec<bool>) {
            let mut graph = all_pixels(self.width, self.height);
            for node in 0..self.source.len() {
                graph.add_terminals(node % self.width, node / self.width, self.source[node], self.sink[node]);
            }
            for &(node, direction, capacity) in &self.edges {
                graph.set_edge(node % self.width, node / self.width, direction, capacity);
            }
            let Ok(flow) = graph.cut(|| Ok::<(), Infallible>(()));
            let side = (0..self.source.len()).map(|i| graph.is_source(i % self.width, i / self.width)).collect();
            (flow, side)
        }
    }

    fn all_pixels(width: usize, height: usize) -> GridGraph {
        GridGraph::new(width, height, &(0..(width * height) as u32).collect::<Vec<_>>())
    }

    fn neighbour(node: usize, direction: usize, width: usize, height: usize) -> Option<usize> {
        let (dx, dy) = DIRECTIONS[direction];
        let x = (node % width).checked_add_signed(dx as isize).filter(|x| *x < width)?;
        let y = (node / width).checked_add_signed(dy as isize).filter(|y| *y < height)?;
        Some(y * width + x)
    }

    #[test]
    fn as_small_as_the_best_of_all_labelings() {
        let mut rng = fastrand::Rng::with_seed(7);
        for round in 0..300 {
            let (width, height) = [(1, 1), (1, 5), (3, 3), (4, 3), (2, 6)][round % 5];
            let problem = Problem::random(&mut rng, width, height, [1, 4, 12][round % 3]);
            let least = (0u32..1 << (width * height)).map(|bits| problem.cost(|i| bits >> i & 1 == 1)).min().unwrap();
            let (flow, side) = problem.solve();
            assert_eq!(flow, least, "round {round}");
            assert_eq!(problem.cost(|i| side[i]), least, "round {round}: labels do not cost the flow");
        }
    }

    /// Flow equal to the cost of a cut proves both optimal, at any size.
    #[test]
    fn flow_equals_cut_on_larger_grids() {
        let mut rng = fastrand::Rng::with_seed(3);
        for (width, height, max_edge) in [(64, 48, 3), (50, 70, 30), (200, 5, 8)] {
            let problem = Problem::random(&mut rng, width, height, max_edge);
            let (flow, side) = problem.solve();
            assert_eq!(flow, problem.cost(|i| side[i]));
        }
    }

    #[test]
    fn pixels_left_out_carry_no_flow() {
        // Two pixels side by side, and a third behind a gap.
        let mut graph = GridGraph::new(4, 1, &[0, 1, 3]);
        graph.add_terminals(0, 0, 7, 0);
        graph.add_terminals(1, 0, 0, 5);
        graph.add_terminals(3, 0, 0, 9);
        graph.set_edge(0, 0, 0, 6);
        assert_eq!(graph.cut(|| Ok::<(), Infallible>(())), Ok(5));
        assert!(graph.is_source(0, 0) && !graph.is_source(3, 0));
    }

    #[test]
    fn an_error_from_poll_ends_the_search() {
        let mut graph = all_pixels(200, 200);
        for y in 0..200 {
            for x in 0..200 {
                graph.add_terminals(x, y, i32::from(x < 100), i32::from(x >= 100));
                if x < 199 {
                    graph.set_edge(x, y, 0, 5);
                }
            }
        }
        assert_eq!(graph.cut(|| Err("stop")), Err("stop"));
    }
}
