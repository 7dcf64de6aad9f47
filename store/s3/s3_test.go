package s3_test

import (
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"piimg/store"
	"piimg/store/s3/s3test"
	"piimg/store/storetest"
)

func TestMain(m *testing.M) {
	// After a request that failed minio-go waits for up to so long, even where it is told
	// not to try again. Tests let thousands fail.
	minio.DefaultRetryUnit = time.Millisecond
	m.Run()
}

func TestBucket(t *testing.T) {
	server := s3test.Start(t)
	storetest.Run(t, func(t *testing.T) store.Bucket { return server.Open(t) })
}
