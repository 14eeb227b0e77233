//! Links over real TLS between nodes of one process, and what hostile peers come by.
