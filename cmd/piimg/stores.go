package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"piimg/store"
	"piimg/store/disk"
	"piimg/store/near"
	"piimg/store/open"
	"piimg/store/probe"
	"piimg/store/split"
)

// location is where the store is.
func (a *app) location() (string, error) {
	for _, l := range []string{a.store, a.getenv("PIIMG_STORE")} {
		if l != "" {
			return l, nil
		}
	}
	dir, err := a.dir("XDG_DATA_HOME", ".local/share")
	return filepath.Join(dir, "store"), err
}

// refsLocation is where the environments are, "" where they are in the store.
func (a *app) refsLocation() string {
	if a.refs != "" {
		return a.refs
	}
	return a.getenv("PIIMG_REFS")
}

// openStore opens the store, which has to be there.
func (a *app) openStore(ctx context.Context) (*store.Store, error) {
	where, err := a.location()
	if err != nil {
		return nil, err
	}
	return a.openAt(ctx, where, a.refsLocation())
}

// openAt opens the store at where, whose environments are at refs unless that is "".
func (a *app) openAt(ctx context.Context, where, refs string) (*store.Store, error) {
	// Opening a folder makes it: who only looks leaves nothing behind.
	if _, err := os.Stat(where); errors.Is(err, fs.ErrNotExist) && !strings.Contains(where, ":") {
		return nil, noStore(where)
	}
	b, err := bucketAt(ctx, where, refs)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, b)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noStore(where)
	}
	if err == nil {
		err = checkRefs(ctx, s, refs, split.Check)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", open.Shown(where), err)
	}
	return s, nil
}

// checkRefs checks, or says, that the environments at refs are those of s.
func checkRefs(ctx context.Context, s *store.Store, refs string, do func(context.Context, store.Bucket, string) error) error {
	b, ok := s.Bucket().(split.Bucket)
	if !ok {
		return nil
	}
	if err := do(ctx, b.Logs(), s.ID()); err != nil {
		return wrongRefs(refs, err)
	}
	return nil
}

func wrongRefs(refs string, err error) error {
	return hint(fmt.Errorf("%s: %w", open.Shown(refs), err), "--refs and PIIMG_REFS belong to the store that --store names")
}

// openLogs opens the store to append to its logs.
func (a *app) openLogs(ctx context.Context) (*store.Store, error) {
	s, err := a.openStore(ctx)
	if err == nil {
		err = checkRefs(ctx, s, a.refsLocation(), split.Claim)
	}
	if err == nil && s.SingleWriter() && a.refsLocation() == "" {
		a.ui.warn("this store is for one writer at a time: see to it that nobody else promotes or sets boards now")
	}
	return s, err
}

// lease is how a command holds content while it works with it.
func (a *app) lease(what string) store.LeaseOptions {
	return store.LeaseOptions{
		Holder: a.actor() + ", " + what, Now: a.now,
		Waiting: func(w store.Sweep) { a.ui.say("waiting for piimg gc of %s to end", printable(w.Owner)) },
	}
}

func noStore(where string) error {
	return hint(fmt.Errorf("no store at %s", open.Shown(where)), "piimg build makes one; or say where it is with --store or PIIMG_STORE")
}

// makeStore opens the store, or makes one.
func (a *app) makeStore(ctx context.Context) (*store.Store, error) {
	s, _, err := a.initStore(ctx, store.InitOptions{})
	return s, err
}

// initStore opens the store, or makes one where the server keeps what it has to. It says
// whether it was made.
func (a *app) initStore(ctx context.Context, o store.InitOptions) (*store.Store, bool, error) {
	where, err := a.location()
	if err != nil {
		return nil, false, err
	}
	b, err := a.bucket(ctx)
	if err != nil {
		return nil, false, err
	}
	s, err := store.Open(ctx, b)
	made := errors.Is(err, fs.ErrNotExist)
	if made {
		s, err = a.makeIn(ctx, b, o)
	}
	if err == nil {
		err = checkRefs(ctx, s, a.refsLocation(), split.Claim)
	}
	if err != nil {
		return nil, false, fmt.Errorf("open store %s: %w", open.Shown(where), err)
	}
	return s, made, nil
}

// makeIn makes a store in b, if nothing speaks against it: where its environments will be is
// looked at first, since a store without them would be left behind.
func (a *app) makeIn(ctx context.Context, b store.Bucket, o store.InitOptions) (*store.Store, error) {
	if err := freeRefs(ctx, b, a.refsLocation()); err != nil {
		return nil, err
	}
	if err := a.mayShare(ctx, o); err != nil {
		return nil, err
	}
	return store.InitWith(ctx, b, o)
}

// freeRefs checks that the environments of a store that is yet to be made in b can be at refs.
func freeRefs(ctx context.Context, b store.Bucket, refs string) error {
	two, ok := b.(split.Bucket)
	if !ok {
		return nil
	}
	if err := split.Free(ctx, two.Logs()); err != nil {
		return wrongRefs(refs, err)
	}
	if err := probe.Write(ctx, two.Logs()); err != nil {
		return fmt.Errorf("%s: %w", open.Shown(refs), err)
	}
	return nil
}

// bucket opens where the store lives.
func (a *app) bucket(ctx context.Context) (store.Bucket, error) {
	where, err := a.location()
	if err != nil {
		return nil, err
	}
	return bucketAt(ctx, where, a.refsLocation())
}

func bucketAt(ctx context.Context, where, refs string) (store.Bucket, error) {
	content, err := open.Bucket(ctx, where)
	if err != nil || refs == "" {
		return content, err
	}
	logs, err := open.Bucket(ctx, refs)
	if err != nil {
		return nil, err
	}
	return split.New(content, logs), nil
}

// copiesLimit is how many bytes of copies are kept of a server's blobs.
const copiesLimit = 8 << 30

// withCopies is s for who reads much of what they have written themselves: where it is on a
// server, copies of content are kept in the user's cache, and content is where to read them.
func (a *app) withCopies(ctx context.Context, s *store.Store) (own, content *store.Store, err error) {
	where, err := a.location()
	if err != nil || !open.Remote(where) {
		return s, s, err
	}
	dir, err := a.cacheDir()
	if err != nil {
		return nil, nil, err
	}
	copies, err := disk.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		return nil, nil, fmt.Errorf("keep copies of blobs: %w", err)
	}
	b := near.New(s.Bucket(), copies, copiesLimit)
	if err := b.Trim(ctx); err != nil {
		return nil, nil, err
	}
	return s.In(b), s.In(near.Reader{Bucket: b}), nil
}

// mayShare probes a server before a store is made on it, unless one writer will be all.
func (a *app) mayShare(ctx context.Context, o store.InitOptions) error {
	if o.SingleWriter {
		return nil
	}
	where, err := a.location()
	if err != nil {
		return err
	}
	logs := where
	if refs := a.refsLocation(); refs != "" {
		logs = refs
	}
	if !open.Remote(logs) {
		return nil // what a folder promises is tested with every release
	}
	r, err := a.probe(ctx, logs)
	if err != nil {
		return err
	}
	if bad := r.Failed(); len(bad) > 0 {
		return hint(fmt.Errorf("it cannot be shared: %s", bad),
			"keep the environments elsewhere, in a folder or on another server: --refs; or see to it that one machine at a time writes: piimg store init --single-writer")
	}
	return nil
}

// probe checks what a location promises, over two connections.
func (a *app) probe(ctx context.Context, where string) (probe.Report, error) {
	var both []store.Bucket
	for range 2 {
		b, err := open.Bucket(ctx, where)
		if err != nil {
			return nil, err
		}
		both = append(both, b)
	}
	return probe.Run(ctx, both...)
}

func newStore(a *app) *cobra.Command {
	c := &cobra.Command{Use: "store", Short: "Make a store, and look after it", Example: "  piimg store init"}
	c.AddCommand(newStoreInit(a))
	return c
}

func newStoreInit(a *app) *cobra.Command {
	var o store.InitOptions
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a store",
		Long: `init makes a store of an empty folder or of an empty prefix of a bucket. piimg build does
the same by itself. A server is asked first whether it keeps what several writers need: of
those that write one key at a time one has to win, and what is written has to be seen by
all at once. One that does not is refused; what can be done then is said.

A store for a single writer is not checked: whoever uses it sees to it that one machine at
a time builds, promotes and sets boards. Any number may read and serve.` + "\n" + exitCodes,
		Example: `  piimg --store /srv/piimg store init
  piimg --store 's3://images/fleet?endpoint=https://s3.example.org' store init
  piimg --store 's3://images/fleet?endpoint=https://old.example.org' --refs /srv/refs store init`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, made, err := a.initStore(cmd.Context(), o)
			if err != nil {
				return err
			}
			if !made {
				a.ui.say("nothing to do: the store is there")
			}
			_, err = fmt.Fprintln(a.out, s.ID())
			return err
		},
	}
	c.Flags().BoolVar(&o.SingleWriter, "single-writer", false, "do not ask whether several may write")
	return c
}

func newDoctor(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check that the store keeps its promises, and that clocks agree",
		Long: `doctor asks the store, or where its environments are, whether a second writer of a key is
refused, whether of several racing writers one wins, whether what was written is read and
listed at once, and what time it has. What it writes for that is removed.` + "\n" + exitCodes,
		Example: "  piimg doctor",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			where, err := a.location()
			if err != nil {
				return err
			}
			if _, err := a.openStore(cmd.Context()); err != nil {
				return err
			}
			if refs := a.refsLocation(); refs != "" {
				where = refs
			}
			r, err := a.probe(cmd.Context(), where)
			if err != nil {
				return fmt.Errorf("check %s: %w", open.Shown(where), err)
			}
			return a.printReport(r, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the checks as JSON")
	return c
}

func (a *app) printReport(r probe.Report, asJSON bool) error {
	var err error
	if asJSON {
		err = a.printJSON(r)
	} else {
		err = table(a.out, "CHECK\tRESULT\tWHAT WAS SEEN", func(line func(string, ...any)) {
			for _, c := range r {
				result := "ok"
				if !c.OK {
					result = "failed"
				}
				line("%s\t%s\t%s", c.Name, result, c.Text)
			}
		})
	}
	if err == nil && len(r.Failed()) > 0 {
		return errFindings
	}
	return err
}
