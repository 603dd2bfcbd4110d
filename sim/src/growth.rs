//! Tables that grow with the world.

/// Makes room for one more, if there is none. A table that doubled would be a quarter empty on average: that is much where
/// there is one for each of thousands of nodes, and where there is one for all of them.
pub(crate) fn make_room<T>(table: &mut Vec<T>) {
    if table.len() == table.capacity() {
        table.reserve_exact(step(table.len()));
    }
}

/// How much room to make for more than so many.
pub(crate) fn step(len: usize) -> usize {
    (len / 4).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_grows_seldom_and_wastes_little() {
        let (mut table, mut grown) = (Vec::new(), 0);
        for number in 0..100_000 {
            let before = table.capacity();
            make_room(&mut table);
            grown += usize::from(table.capacity() != before);
            table.push(number);
            assert!(table.capacity() <= table.len() + table.len() / 4 + 2);
        }
        assert!(grown < 60, "{grown} times");
    }
}
