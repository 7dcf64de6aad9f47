package open_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"piimg/store"
	"piimg/store/open"
)

func TestBucketOnDisk(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ location, folder string }{
		{"relative", "relative"},
		{"./a/b", "a/b"},
		{here + "/absolute", "absolute"},
		{"file://" + here + "/url", "url"},
		{"file:" + here + "/short", "short"},
		{"file://" + here + "/with%20blank", "with blank"},
		{"a:b", "a:b"},
		{"mem:", "mem:"}, // nothing but a name: what is stored there stays
	}
	for _, tt := range tests {
		b, err := open.Bucket(t.Context(), tt.location)
		if err != nil {
			t.Errorf("Bucket(%s) = %v", tt.location, err)
			continue
		}
		if err := b.Put(t.Context(), "key", store.Bytes(nil)); err != nil {
			t.Errorf("Bucket(%s).Put = %v", tt.location, err)
		}
		if _, err := os.Stat(filepath.Join(here, tt.folder, "key")); err != nil {
			t.Errorf("Bucket(%s): %v", tt.location, err)
		}
	}
}

// TestForms: what is offered keeps what it is given.
func TestForms(t *testing.T) {
	if got, want := open.Forms(), "a path, file:///path"; got != want {
		t.Errorf("Forms = %s; want %s", got, want)
	}
}

func TestBucketErrors(t *testing.T) {
	tests := []struct{ location, want string }{
		{"", `open store "": the location is empty: use a path, file:///path`},
		{"ftp://host/x", `scheme "ftp" is not known: use a path`},
		{"s3://fleet/prod", "S3 is not in this version"},
		{"s3:fleet", "S3 is not in this version"},
		{"s3://key:secret@host/fleet", `open store "s3://host/fleet": S3`},
		{"file:relative", "absolute path"},
		{"file://host/path", "three slashes"},
		{"file:///a?b", "nothing after it"},
		{"file:///%zz", "invalid URL escape"},
		{"open_test.go", "not a folder"},
	}
	for _, tt := range tests {
		_, err := open.Bucket(t.Context(), tt.location)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Bucket(%q) = %v; want %q in the error", tt.location, err, tt.want)
		}
	}
}
