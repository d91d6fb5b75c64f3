//! One matrix, written by several threads at once without `unsafe` at the caller's.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// A matrix cut into parts that do not overlap: each thread takes its part and writes it.
///
/// Between phases of a run the whole can be read. That nobody reads what another writes is
/// checked as a `RefCell` checks, but across threads: a part can be taken once at a time, the
/// whole only while no part is taken; what breaks this panics. (The order of the phases is the
/// caller's affair: a barrier between them.)
pub struct Split<'a, T> {
    data: *mut T,
    rows: usize,
    cols: usize,
    cut: Cut,
    parts: usize,
    /// Bit i: part i is taken. While the whole is read: [`READ`] times the readers.
    state: AtomicU64,
    borrow: PhantomData<&'a mut [T]>,
}

/// Readers are counted in the upper bits; parts have the lower ones.
const READ: u64 = 1 << PARTS_MAX;
const PARTS_MAX: usize = 48;

#[derive(Clone, Copy)]
enum Cut {
    Rows,
    /// At multiples of this many columns.
    Columns(usize),
}

// SAFETY: the data is reached only through parts, of which no two overlap (`take` gives each
// index once, `share` disjoint ranges), and through `Whole`, which excludes parts; so `T: Send`
// (parts move to threads) and `T: Sync` (the whole is shared) suffice.
unsafe impl<T: Send + Sync> Sync for Split<'_, T> {}

impl<'a, T> Split<'a, T> {
    /// Parts of whole rows.
    ///
    /// # Panics
    /// Unless `data` is `rows` × `cols` and there are 1 to 48 parts.
    pub fn rows(data: &'a mut [T], cols: usize, parts: usize) -> Split<'a, T> {
        Split::new(data, cols, parts, Cut::Rows)
    }

    /// Parts of whole columns, cut at multiples of `align`.
    ///
    /// # Panics
    /// Unless `data` is whole rows of `cols` and there are 1 to 48 parts.
    pub fn columns(data: &'a mut [T], cols: usize, parts: usize, align: usize) -> Split<'a, T> {
        Split::new(data, cols, parts, Cut::Columns(align))
    }

    fn new(data: &'a mut [T], cols: usize, parts: usize, cut: Cut) -> Split<'a, T> {
        assert!((1..=PARTS_MAX).contains(&parts), "{parts} parts");
        let rows = data.len().checked_div(cols).unwrap_or(0);
        assert_eq!(rows * cols, data.len(), "whole rows of {cols}");
        let data = data.as_mut_ptr();
        Split { data, rows, cols, cut, parts, state: AtomicU64::new(0), borrow: PhantomData }
    }

    /// Takes a part, until it is dropped.
    ///
    /// # Panics
    /// If the part is taken, or the whole is being read.
    pub fn part(&self, index: usize) -> Part<'_, T> {
        assert!(index < self.parts, "part {index} of {}", self.parts);
        let before = self.state.fetch_or(1 << index, Ordering::Acquire);
        assert!(before & (1 << index) == 0, "part {index} is taken twice");
        if before >= READ {
            self.state.fetch_and(!(1 << index), Ordering::Release);
            panic!("part {index} is taken while the whole is read");
        }
        let (rows, cols) = match self.cut {
            Cut::Rows => (share(self.rows, 1, index, self.parts), 0..self.cols),
            Cut::Columns(align) => (0..self.rows, share(self.cols, align, index, self.parts)),
        };
        Part {
            data: self.data,
            stride: self.cols,
            rows,
            cols,
            index,
            state: &self.state,
            borrow: PhantomData,
        }
    }

    /// Reads the whole matrix.
    ///
    /// # Panics
    /// If a part is taken.
    pub fn read<R>(&self, body: impl FnOnce(&[T]) -> R) -> R {
        struct Reading<'a>(&'a AtomicU64);
        impl Drop for Reading<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(READ, Ordering::Release);
            }
        }
        let before = self.state.fetch_add(READ, Ordering::Acquire);
        let _reading = Reading(&self.state);
        assert!(before.is_multiple_of(READ), "a part is taken while the whole is read");
        // SAFETY: the constructor's slice is borrowed for `'a`; no part exists, and none can be
        // taken before `_reading` is dropped.
        body(unsafe { std::slice::from_raw_parts(self.data, self.rows * self.cols) })
    }
}

/// A part of a [`Split`] matrix, exclusively held.
pub struct Part<'a, T> {
    data: *mut T,
    stride: usize,
    rows: Range<usize>,
    cols: Range<usize>,
    index: usize,
    state: &'a AtomicU64,
    borrow: PhantomData<&'a mut [T]>,
}

impl<T> Part<'_, T> {
    /// The rows of the matrix that the part has.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The columns of the matrix that the part has.
    pub fn cols(&self) -> Range<usize> {
        self.cols.clone()
    }

    /// The part's columns of a row (numbered as in the matrix).
    ///
    /// # Panics
    /// If the part does not have that row.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(self.rows.contains(&row), "row {row} of {:?}", self.rows);
        // SAFETY: within the matrix, as `rows` and `cols` are; the part is held by `self` alone
        // (see `Split`), and the slice borrows `self` mutably.
        unsafe {
            let start = self.data.add(row * self.stride + self.cols.start);
            std::slice::from_raw_parts_mut(start, self.cols.len())
        }
    }
}

impl<T> Drop for Part<'_, T> {
    fn drop(&mut self) {
        self.state.fetch_and(!(1 << self.index), Ordering::Release);
    }
}

/// Part `index` of `count` of `len` items, cut at multiples of `align`.
pub fn share(len: usize, align: usize, index: usize, count: usize) -> Range<usize> {
    let units = len.div_ceil(align);
    let cut = |index: usize| (units * index / count * align).min(len);
    cut(index)..cut(index + 1)
}
