package s3_test

import (
	"testing"

	"piimg/store"
	"piimg/store/s3/s3test"
	"piimg/store/storetest"
)

func TestBucket(t *testing.T) {
	server := s3test.Start(t)
	storetest.Run(t, func(t *testing.T) store.Bucket { return server.Open(t) })
}
