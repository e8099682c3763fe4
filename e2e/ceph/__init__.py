"""A real Ceph object gateway, for the tests of the fetcher that otherwise use a smaller S3 service."""
