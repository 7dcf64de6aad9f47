package s3test

import (
	"context"
	"net/http"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"
)

// make makes a bucket, which package s3 never does.
func (s *Server) make(ctx context.Context, name string) error {
	c, err := minio.New(s.Endpoint[len("http://"):], &minio.Options{Creds: credentials.NewStaticV4(s.Access, s.Secret, ""), Region: "us-east-1"})
	if err != nil {
		return err
	}
	return c.MakeBucket(ctx, name, minio.MakeBucketOptions{Region: "us-east-1"})
}

// Unconditional takes the condition of a request away, as servers do that do not know it,
// and signs what is left.
func (s *Server) Unconditional(w http.ResponseWriter, r *http.Request, forward func() (*http.Response, error)) {
	if r.Header.Get("If-None-Match") != "" {
		r.Header.Del("If-None-Match")
		r.Header.Del("Authorization")
		*r = *signer.SignV4(*r, s.Access, s.Secret, "", "us-east-1")
	}
	Pass(w, r, forward)
}
