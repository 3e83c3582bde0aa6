//! The test kit: the whole API on an embedded DynamoDB, with everything around it in our hands.
