//! Many peers: whom to reach and when, whom to let in, which connection to keep.
//!
//! Nothing here touches bytes. A `Node` is told what happened to dials and connections and answers with
//! actions; the connections run elsewhere.

