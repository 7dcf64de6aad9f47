package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"piimg/cmd/piimg/config"
	"piimg/store"
	"piimg/store/board"
	"piimg/store/env"
	"piimg/store/sign"
	"piimg/store/yank"
)

// buffer is a log that is written and read at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// rack is a store on disk, a configuration with a trust file, and a front end over them.
type rack struct {
	t     *testing.T
	dir   string
	store *store.Store
	app   *app
	now   time.Time
	keys  map[string]sign.Signer
	chain *sign.Chain
	trust sign.Trust

	cache string
	log   *buffer
	front *frontEnd
	stop  func()
}

// newRack trusts alice as the promoter of all environments, and runs image "a" in prod.
func newRack(t *testing.T) *rack {
	dir := t.TempDir()
	r := &rack{t: t, dir: dir, store: openAt(t, filepath.Join(dir, "store")), now: time.Now(), keys: map[string]sign.Signer{}, chain: sign.NewChain(), cache: filepath.Join(dir, "cache")}
	r.write("config.toml", "[sign]\ntrust = \"trust\"\n")
	r.app = &app{in: strings.NewReader(""), out: &results{w: io.Discard}, ui: &ui{w: io.Discard}, now: func() time.Time { return r.now },
		getenv: func(name string) string {
			return map[string]string{"PIIMG_CONFIG": filepath.Join(dir, "config.toml")}[name]
		}}
	r.trust.Threshold = 1
	r.add("root", sign.Root)
	r.add("alice", sign.Promoter("*"))
	r.add("bob", sign.Promoter("*"))
	r.publish()
	r.promote("alice", "a")
	r.start()
	t.Cleanup(func() { r.stop() })
	r.get("a")
	return r
}

func (r *rack) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rack) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// add makes a key.
func (r *rack) add(name string, roles ...string) {
	r.t.Helper()
	file := filepath.Join(r.dir, name)
	_, err := sign.Create(file, name, nil)
	r.must(err)
	r.keys[name], err = sign.Open(r.t.Context(), file, "", nil)
	r.must(err)
	r.trust.Keys = append(r.trust.Keys, sign.Key{Public: r.keys[name].Key(), Name: name, Roles: roles})
}

// publish writes the trust file as it is now, as a new version.
func (r *rack) publish() {
	r.t.Helper()
	r.must(r.chain.Propose(r.trust, r.now))
	payload, err := r.chain.Payload()
	r.must(err)
	sig, err := r.keys["root"].Sign(r.t.Context(), sign.TrustNamespace, payload)
	r.must(err)
	r.must(r.chain.Sign(sig))
	doc, err := r.chain.Bytes()
	r.must(err)
	r.write("trust", string(doc))
}

// promote makes prod run the image called name, as by; "" signs nothing and checks nothing.
func (r *rack) promote(by, name string) env.Entry {
	r.t.Helper()
	var rules env.Rules
	if by != "" {
		var err error
		rules, err = r.app.rules()
		r.must(err)
		rules.Signer = r.keys[by]
	}
	e, err := env.Promote(r.t.Context(), r.store, env.PromoteOptions{Env: "prod", Image: r.image(name), Actor: "x" + by, Rules: rules, Now: r.app.now})
	r.must(err)
	return e
}

func (r *rack) image(name string) store.Digest { return putSmall(r.t, r.store, "kernel "+name) }

// start starts a front end over the cache as it is.
func (r *rack) start() {
	r.t.Helper()
	if r.stop != nil {
		r.stop()
	}
	r.log = &buffer{}
	a := attach(r.store)
	var err error
	a.guard, err = r.app.guard()
	r.must(err)
	r.front, err = openFrontEnd(a, config.Serve{HTTP: "127.0.0.1:0", Default: "prod", Cache: r.cache}, slog.New(slog.NewTextHandler(r.log, nil)))
	r.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { // not all of it: that looks for heads by itself, in the middle of what a test does
		err := r.front.web.Serve(ctx)
		r.front.front.Close()
		done <- err
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
}

// get fetches a path and expects the kernel of the image called want, "" for none.
func (r *rack) getAt(path, want string) {
	r.t.Helper()
	resp, err := http.Get("http://" + r.front.web.Addr().String() + path)
	r.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	r.must(err)
	if got := string(body); want != "" && got != "kernel "+want || want == "" && resp.StatusCode == http.StatusOK {
		r.t.Errorf("%s is %s %q; want kernel %q", path, resp.Status, got, want)
	}
}

func (r *rack) get(want string) { r.t.Helper(); r.getAt("/env/prod/kernel8.img", want) }

// look has the front end look for new heads and expects an error that says why, "" for none.
func (r *rack) look(why string) {
	r.t.Helper()
	err := r.front.front.Refresh(r.t.Context())
	if why == "" && err != nil {
		r.t.Errorf("looking for heads: %v", err)
	}
	if why != "" && (err == nil || !strings.Contains(err.Error(), why)) {
		r.t.Errorf("looking for heads: %v; want %q", err, why)
	}
}

// refused expects that boards go on with image a, also with a front end that starts anew, and
// that it is in the log why.
func (r *rack) refused(why string) {
	r.t.Helper()
	r.look(why)
	r.get("a")
	if text := r.log.String(); !strings.Contains(text, "environment stays at its last good image") || !strings.Contains(text, why) {
		r.t.Errorf("the log does not say why boards stay with the old image, %q:\n%s", why, text)
	}
	r.start()
	r.look(why)
	r.get("a")
}

func (r *rack) key(seq int) string { return fmt.Sprintf("envs/prod/log/%010d.json", seq) }

func (r *rack) stored(seq int) []byte {
	r.t.Helper()
	doc, err := r.store.Object(r.t.Context(), r.key(seq), 1<<20)
	r.must(err)
	return doc
}

func (r *rack) put(seq int, doc []byte) {
	r.t.Helper()
	r.must(r.store.Bucket().Put(r.t.Context(), r.key(seq), store.Bytes(doc)))
}

// TestFaultRow39FrontEndKeepsTheLastGoodHead: whoever can write to the store cannot make boards
// run what nobody signed, nor what ran before.
func TestFaultRow39FrontEndKeepsTheLastGoodHead(t *testing.T) {
	tests := []struct {
		name string
		do   func(r *rack)
		why  string
	}{
		{"a step that nobody signed", func(r *rack) { r.promote("", "evil") }, "nobody has"},
		{"an older step played back as the next", func(r *rack) { r.put(2, r.stored(1)) }, "entry says number 1"},
		{"the head taken away", func(r *rack) { r.must(r.store.Bucket().Delete(r.t.Context(), r.key(1))) }, "was seen and is gone"},
		{"the head replaced, signed by the same key", func(r *rack) {
			r.must(r.store.Bucket().Delete(r.t.Context(), r.key(1)))
			r.promote("alice", "b")
		}, "its history was replaced"},
		{"a history that goes on from another one", func(r *rack) {
			r.must(r.store.Bucket().Delete(r.t.Context(), r.key(1)))
			r.promote("alice", "b")
			r.promote("alice", "c")
		}, "its history was replaced"},
		{"a step left out", func(r *rack) {
			r.promote("alice", "b")
			r.promote("alice", "c")
			r.must(r.store.Bucket().Delete(r.t.Context(), r.key(2)))
		}, "entry 3 follows entry 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRack(t)
			tt.do(r)
			r.refused(tt.why)
		})
	}
}

// TestFaultRow39GoesOnAfterASignedStep: an unsigned step ends with the next good one.
func TestFaultRow39GoesOnAfterASignedStep(t *testing.T) {
	r := newRack(t)
	r.promote("", "evil")
	r.refused("nobody has")
	r.promote("alice", "b")
	r.look("")
	r.get("b")
}

// TestFaultRow40RunningBoardsKeepBooting: whoever has signed may have lost their key since.
func TestFaultRow40RunningBoardsKeepBooting(t *testing.T) {
	r := newRack(t)
	soon := r.now.Add(time.Hour)
	r.trust.Keys[1].Until = soon
	r.publish()
	r.now = soon.Add(time.Hour)
	r.look("")
	r.get("a")
	r.start()
	r.get("a")
	// A front end that has never seen it takes a step that was signed in time.
	r.cache += "2"
	r.start()
	r.get("a")
	r.trust.Keys[1].Revoked = r.now
	r.publish()
	r.look("")
	r.get("a")
	r.start()
	r.get("a")
	r.cache += "3"
	r.start()
	r.look("alice, but the key is revoked since")
	r.get("")
	r.promote("bob", "a") // bob vouches for the same image
	r.look("")
	r.get("a")
}

// TestTrustFileThatWentBack: boards go on, nothing new is taken until it is right again.
func TestTrustFileThatWentBack(t *testing.T) {
	r := newRack(t)
	old, err := os.ReadFile(filepath.Join(r.dir, "trust"))
	r.must(err)
	r.trust.Keys[1].Revoked = r.now
	r.publish()
	r.look("")
	newer, err := os.ReadFile(filepath.Join(r.dir, "trust"))
	r.must(err)
	r.promote("bob", "b")
	for _, doc := range []string{string(old), "garbage", ""} {
		r.write("trust", doc)
		r.look("trust file")
		r.get("a")
	}
	r.start()
	r.look("trust file")
	r.get("a")
	r.must(os.Remove(filepath.Join(r.dir, "trust")))
	r.look("trust file")
	r.get("a")
	r.write("trust", string(newer))
	r.look("")
	r.get("b")
}

// TestYankedHead: a front end does not go to a yanked image from another one, and takes
// nothing from boards that have no other.
func TestYankedHead(t *testing.T) {
	r := newRack(t)
	rules, err := r.app.rules()
	r.must(err)
	rules.Signer = r.keys["alice"]
	pull := func(name string) {
		t.Helper()
		_, err := yank.Set(t.Context(), r.store, yank.Options{Image: r.image(name), Actor: "x", Reason: "bad", Sign: rules.Sign, Trusted: rules.TrustedYank(r.now), Now: r.app.now})
		r.must(err)
	}
	r.promote("alice", "b")
	pull("b")
	r.refused("was yanked by x: bad")
	pull("a")
	r.promote("alice", "c")
	r.look("")
	r.get("c")
	pull("c")
	r.look("")
	r.get("c")
	r.cache += "2"
	r.start()
	r.get("c")
}

// TestBoardsSetToImages: where publishers are trusted, a board gets no image that none has
// signed, whoever says so in the store.
func TestBoardsSetToImages(t *testing.T) {
	r := newRack(t)
	set := func(name string) {
		t.Helper()
		_, err := board.Set(t.Context(), r.store, "91cdf03d", board.Options{Image: r.image(name), Actor: "mallory"})
		r.must(err)
	}
	set("b")
	r.add("pub", sign.Publisher)
	r.publish()
	r.getAt("/91cdf03d/kernel8.img", "")
	r.must(sign.Image(t.Context(), r.store, r.image("b"), r.keys["pub"]))
	r.must(r.front.front.Refresh(t.Context()))
	r.getAt("/91cdf03d/kernel8.img", "b")
}
