package store_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
)

func newStep(t *testing.T, s *store.Store) store.Step {
	t.Helper()
	return store.Step{
		Key:     store.Sum([]byte("key")),
		Inputs:  []store.Input{{Name: "stage", Value: "kernel"}},
		Outputs: newImage(t, s).Files,
		Facts:   []string{"kernel.release=6.12.47"},
	}
}

func stepObject(key store.Digest) string {
	return "cache/steps/" + key.Hex()[:2] + "/" + key.Hex() + ".json"
}

func TestSteps(t *testing.T) {
	s := newStore(t)
	want := newStep(t, s)
	if err := s.Steps().Put(t.Context(), "recipe", "kernel", want); err != nil {
		t.Fatal(err)
	}
	got, err := s.Steps().Get(t.Context(), want.Key)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Get = %v, want -, got +:\n%s", err, diff)
	}
	last, err := s.Steps().Last(t.Context(), "recipe", "kernel")
	if diff := cmp.Diff(store.Step{Key: want.Key, Inputs: want.Inputs}, last); err != nil || diff != "" {
		t.Errorf("Last = %v, want -, got +:\n%s", err, diff)
	}
	for _, names := range [][2]string{{"recipe", "dtb"}, {"other", "kernel"}, {"recipek", "ernel"}} {
		if _, err := s.Steps().Last(t.Context(), names[0], names[1]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Last(%q) = %v; want fs.ErrNotExist", names, err)
		}
	}
}

// TestStepMisses: whatever is wrong with an entry, the answer is that there is none.
func TestStepMisses(t *testing.T) {
	edit := func(from, to string) func(*testing.T, store.Bucket, store.Step) {
		return func(t *testing.T, b store.Bucket, step store.Step) {
			key := stepObject(step.Key)
			doc := object(t, b, key)
			if !strings.Contains(doc, from) {
				t.Fatalf("%q is not in %s", from, doc)
			}
			putObject(t, b, key, strings.Replace(doc, from, to, 1))
		}
	}
	tests := []struct {
		name   string
		damage func(*testing.T, store.Bucket, store.Step)
	}{
		{"absent", func(t *testing.T, b store.Bucket, step store.Step) { deleteObject(t, b, stepObject(step.Key)) }},
		{"empty", func(t *testing.T, b store.Bucket, step store.Step) { putObject(t, b, stepObject(step.Key), "") }},
		{"half", func(t *testing.T, b store.Bucket, step store.Step) {
			doc := object(t, b, stepObject(step.Key))
			putObject(t, b, stepObject(step.Key), doc[:len(doc)/2])
		}},
		{"too long", func(t *testing.T, b store.Bucket, step store.Step) {
			putObject(t, b, stepObject(step.Key), strings.Repeat(" ", 16<<20+1))
		}},
		{"of another key", func(t *testing.T, b store.Bucket, step store.Step) {
			edit(step.Key.Hex(), store.Sum(nil).Hex())(t, b, step)
		}},
		{"without its key", edit(`"key"`, `"kex"`)},
		{"text after its end", edit(`]}`, `]}}`)},
		{"wrong type", edit(`"facts":[`, `"facts":["",3,`)},
		{"unsafe path", edit(`"kernel8.img"`, `"../kernel8.img"`)},
		{"sizes that do not add up", edit(`"size":16`, `"size":17`)},
		{"file without parts", edit(`"parts":[`, `"parx":[`)},
		{"path that leads nowhere", edit(`"kernel8.img"`, `"a//kernel8.img"`)},
		{"absolute path", edit(`"kernel8.img"`, `"/kernel8.img"`)},
		{"path with an escape sequence", edit(`"kernel8.img"`, `"kernel8\u001b.img"`)},
		{"path twice", edit(`"kernel8.img"`, `"initramfs"`)},
		{"paths out of order", edit(`"kernel8.img"`, `"config.txt"`)},
		{"file below a file", edit(`"kernel8.img"`, `"initramfs/kernel8.img"`)},
		{"file called as a part of another", edit(`"kernel8.img"`, `"initramfs.part0"`)},
		{"mode that no boot file has", edit(`"mode":420`, `"mode":2541`)},
		{"output gone", func(t *testing.T, b store.Bucket, step store.Step) {
			deleteObject(t, b, store.BlobKey(step.Outputs[0].Parts[1].Digest))
		}},
		{"output cut short", func(t *testing.T, b store.Bucket, step store.Step) {
			putObject(t, b, store.BlobKey(step.Outputs[1].Digest), "kern")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			step := newStep(t, s)
			if err := s.Steps().Put(t.Context(), "recipe", "kernel", step); err != nil {
				t.Fatal(err)
			}
			tt.damage(t, s.Bucket(), step)
			got, err := s.Steps().Get(t.Context(), step.Key)
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Get = %+v, %v; want fs.ErrNotExist", got, err)
			}
			wantOneLine(t, err)
		})
	}
}

// TestStepOfCancelledBuild: a build that is being stopped does not take its cache for empty.
func TestStepOfCancelledBuild(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Steps().Get(ctx, store.Sum(nil))
	if !errors.Is(err, context.Canceled) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get with a cancelled context = %v; want context.Canceled alone", err)
	}
}
