package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/minio/minio-go/v7"

	"piimg/store"
)

// HintError is an error with advice.
type HintError struct {
	Err  error
	Help string
}

func (e *HintError) Error() string { return e.Err.Error() }
func (e *HintError) Unwrap() error { return e.Err }

// Hint says what to do, in one line.
func (e *HintError) Hint() string { return e.Help }

// response is what the server said, the zero value where it said nothing.
func response(err error) minio.ErrorResponse {
	var e minio.ErrorResponse
	errors.As(err, &e)
	return e
}

// because translates an error of minio-go into those of [store.Bucket]. Where ctx has
// ended, that is the reason, whatever became of the connection.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	e := response(err)
	switch e.Code {
	case "":
		return err
	case "NoSuchBucket":
		return &HintError{fmt.Errorf("there is no bucket %s", e.BucketName), "create it on the server, as with: mc mb, or aws s3 mb"}
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AllAccessDisabled":
		return &HintError{fmt.Errorf("%s: %s: %w", e.Code, e.Message, fs.ErrPermission),
			"look at the access key in AWS_ACCESS_KEY_ID, in the profile or in MC_HOST_<alias>, and at what the server lets it do"}
	case "RequestTimeTooSkewed":
		return &HintError{fmt.Errorf("%s: %s", e.Code, e.Message), "set the clock of this machine"}
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidDigest":
		return fmt.Errorf("the server got other bytes: %s: %w", e.Code, store.ErrCorrupt)
	}
	if e.StatusCode == http.StatusNotFound || below(e) {
		return fmt.Errorf("%s: %w", e.Code, fs.ErrNotExist)
	}
	return err
}

// below says whether a key was asked for that lies below another one, or is the folder of
// others: servers that keep objects as files have errors of their own for that.
func below(e minio.ErrorResponse) bool {
	return e.Code == "ObjectParentIsFile" || e.Code == "XMinioParentIsObject"
}

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
