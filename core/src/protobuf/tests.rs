use super::*;
use alloc::vec;

#[test]
fn fields_come_back_in_the_order_in_which_they_were_written() {
    let mut out = vec![];
    Writer::new(&mut out).uint64(1, 0).bytes(2, b"xyz").string(3, "").uint64(1, u64::MAX);
    let fields: Result<Vec<_>, _> = Reader::new(&out).collect();
    let expected =
        vec![(1, Value::Varint(0)), (2, Value::Bytes(b"xyz")), (3, Value::Bytes(b"")), (1, Value::Varint(u64::MAX))];
    assert_eq!(fields, Ok(expected));
}
