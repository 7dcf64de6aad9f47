package sign_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"piimg/store"
	"piimg/store/mem"
	"piimg/store/sign"
)

// day is a day of January 2026.
func day(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }

// people are signers by name.
type people map[string]sign.Signer

func newPeople(t testing.TB, names string) people {
	t.Helper()
	p := people{}
	for name := range strings.FieldsSeq(names) {
		file := filepath.Join(t.TempDir(), name)
		must(sign.Create(file, name, nil))(t)
		p[name] = must(sign.Open(context.Background(), file, "", noPassphrase))(t)
	}
	return p
}

func (p people) key(name string, roles ...string) sign.Key {
	return sign.Key{Public: p[name].Key(), Name: name, Roles: roles}
}

// sign signs message in namespace as each of names.
func (p people) sign(t testing.TB, namespace string, message []byte, names string) []store.Sig {
	t.Helper()
	sigs := []store.Sig{}
	for name := range strings.FieldsSeq(names) {
		sigs = append(sigs, must(p[name].Sign(context.Background(), namespace, message))(t))
	}
	return sigs
}

// propose makes a next version and has names sign it.
func (p people) propose(t testing.TB, c *sign.Chain, v sign.Trust, when time.Time, names string) {
	t.Helper()
	if err := c.Propose(v, when); err != nil {
		t.Fatal(err)
	}
	for _, sig := range p.sign(t, sign.TrustNamespace, must(c.Payload())(t), names) {
		if err := c.Sign(sig); err != nil {
			t.Fatal(err)
		}
	}
}

// reread is c as it comes back from a file.
func reread(t testing.TB, c *sign.Chain) *sign.Chain {
	t.Helper()
	return must(sign.ParseChain(must(c.Bytes())(t)))(t)
}

// twoOfThree is a trust file that two of alice, bob and carol change.
func twoOfThree(t testing.TB, p people) (*sign.Chain, sign.Trust) {
	t.Helper()
	c := sign.NewChain()
	first := sign.Trust{Threshold: 2, Keys: []sign.Key{p.key("alice", sign.Root), p.key("bob", sign.Root), p.key("carol", sign.Root)}}
	p.propose(t, c, first, day(1), "alice bob")
	return c, first
}

func TestChain(t *testing.T) {
	p := newPeople(t, "alice bob carol dave mallory")
	c, v := twoOfThree(t, p)
	one := must(reread(t, c).Trust())(t)
	if one.Seq != 1 || c.Pending() != nil {
		t.Fatalf("version %d, pending %v; want a complete version 1", one.Seq, c.Pending())
	}
	v.Keys = append(v.Keys, p.key("dave", sign.Promoter("prod")))
	p.propose(t, c, v, day(2), "carol")
	if got := must(reread(t, c).Trust())(t); got.Seq != 1 {
		t.Errorf("version %d counts with one signature of two", got.Seq)
	}
	wantError(t, reread(t, c).Missing(), "2 with the role root must have signed, 1 has (carol)")
	// Who must not sign adds nothing, and once more is not one more.
	for _, name := range []string{"mallory", "dave"} {
		err := c.Sign(p.sign(t, sign.TrustNamespace, must(c.Payload())(t), name)[0])
		wantError(t, err, "1 with the role root must have signed, nobody has")
	}
	if err := c.Sign(p.sign(t, sign.TrustNamespace, must(c.Payload())(t), "carol")[0]); err != nil {
		t.Fatal(err)
	}
	if got := must(reread(t, c).Trust())(t); got.Seq != 1 {
		t.Error("two signatures of one key count twice")
	}
	if err := c.Sign(p.sign(t, sign.TrustNamespace, must(c.Payload())(t), "alice")[0]); err != nil {
		t.Fatal(err)
	}
	two := must(reread(t, c).Trust())(t)
	if two.Seq != 2 || two.Prev != one.Digest || len(two.Keys) != 4 {
		t.Errorf("version 2 = %+v", two)
	}
	if _, err := c.Payload(); err == nil {
		t.Error("a complete version waits for signatures")
	}
	if all := c.Versions(); len(all) != 2 || all[0].Digest != one.Digest {
		t.Errorf("versions = %+v", all)
	}
}

// TestNewRootsTakeOver: the keys of the version before sign, not those that come in, and
// those that have gone out no longer do.
func TestNewRootsTakeOver(t *testing.T) {
	p := newPeople(t, "alice bob carol dave")
	c, _ := twoOfThree(t, p)
	p.propose(t, c, sign.Trust{Threshold: 1, Keys: []sign.Key{p.key("dave", sign.Root)}}, day(2), "alice bob")
	if got := must(reread(t, c).Trust())(t); got.Seq != 2 {
		t.Fatalf("version = %d", got.Seq)
	}
	if err := c.Propose(sign.Trust{Threshold: 1, Keys: []sign.Key{p.key("alice", sign.Root)}}, day(3)); err != nil {
		t.Fatal(err)
	}
	wantError(t, c.Sign(p.sign(t, sign.TrustNamespace, must(c.Payload())(t), "alice")[0]), "is not in the trust file")
	if err := c.Sign(p.sign(t, sign.TrustNamespace, must(c.Payload())(t), "dave")[0]); err != nil || c.Pending() != nil {
		t.Errorf("dave: %v", err)
	}
}

func TestChainRefuses(t *testing.T) {
	p := newPeople(t, "alice bob carol mallory")
	c, v := twoOfThree(t, p)
	p.propose(t, c, v, day(2), "alice bob")
	lines := strings.SplitAfter(strings.TrimSuffix(string(must(c.Bytes())(t)), "\n"), "\n")
	other, _ := twoOfThree(t, p)
	p.propose(t, other, sign.Trust{Threshold: 1, Keys: []sign.Key{p.key("alice", sign.Root)}}, day(3), "alice bob")
	forked := strings.SplitAfter(string(must(other.Bytes())(t)), "\n")

	// envelope is a version with any payload and signatures.
	envelope := func(payload string, names string) string {
		return string(must(store.EncodeEntry([]byte(payload), p.sign(t, sign.TrustNamespace, []byte(payload), names)))(t))
	}
	alice := p["alice"].Key().String()
	self := func(keys, more string) string {
		return envelope(`{"seq":1,"prev":"","v":1,"threshold":1,"keys":[`+keys+`],"time":"2026-01-01T00:00:00Z"`+more+`}`, "alice")
	}
	tests := []struct {
		name, file string
		want       string
	}{
		{"nothing", "", "no version"},
		{"no JSON", "x", "version 1: corrupt"},
		{"the second alone", lines[1], "it says that it is version 2"},
		{"the first twice", lines[0] + lines[0], "version 2: it says that it is version 1"},
		{"of another history", lines[0] + forked[1], ""}, // the keys are the same, and so it holds; Extends tells
		{"after a pending one", lines[0] + strings.Replace(lines[1], `"sigs":[`, `"sigs":[],"x":[`, 1) + "\n" + lines[1], "follows one that has not enough signatures"},
		{"unknown member", self(`{"key":"`+alice+`","name":"alice","roles":["root"]}`, `,"later":1`), `unknown field "later"`},
		{"unknown role", self(`{"key":"`+alice+`","name":"alice","roles":["root","boss"]}`, ``), `role "boss"`},
		{"role of no environment", self(`{"key":"`+alice+`","name":"alice","roles":["root","promoter:../x"]}`, ``), `environment "../x"`},
		{"no role", self(`{"key":"`+alice+`","name":"alice","roles":[]}`, ``), "has no role"},
		{"no name", self(`{"key":"`+alice+`","name":"","roles":["root"]}`, ``), "is empty"},
		{"escape in a name", self(`{"key":"`+alice+`","name":"a\u001b","roles":["root"]}`, ``), "control character"},
		{"one key twice", self(`{"key":"`+alice+`","name":"a","roles":["root"]},{"key":"`+alice+`","name":"b","roles":["root"]}`, ``), "is there twice"},
		{"no root key", self(`{"key":"`+alice+`","name":"a","roles":["builder"]}`, ``), "nobody could change the trust file"},
		{"only an expired one", self(`{"key":"`+alice+`","name":"a","roles":["root"],"until":"2025-01-01T00:00:00Z"}`, ``), "nobody could change the trust file"},
		{"newer format", envelope(`{"seq":1,"prev":"","v":2}`, "alice"), "it has format 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := sign.ParseChain([]byte(tt.file))
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, tt.want)
		})
	}
}

// TestExtends: a trust file that went back or took another way is told from one that went on.
func TestExtends(t *testing.T) {
	p := newPeople(t, "alice bob carol")
	c, v := twoOfThree(t, p)
	old := reread(t, c)
	p.propose(t, c, v, day(2), "alice bob")
	newer := reread(t, c)
	p.propose(t, c, v, day(3), "alice")
	pending := reread(t, c)
	forked := reread(t, old)
	p.propose(t, forked, v, day(4), "alice carol")
	for _, tt := range []struct {
		name     string
		new, old *sign.Chain
		want     string
	}{
		{"the same", old, old, ""},
		{"newer", newer, old, ""},
		{"a pending one more", pending, newer, ""},
		{"the pending one dropped", newer, pending, ""},
		{"older", old, newer, "version 2 is not the one"},
		{"forked", forked, newer, "version 2 is not the one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.new.Extends(tt.old)
			if tt.want == "" && err != nil {
				t.Error(err)
			}
			if tt.want != "" {
				wantError(t, err, tt.want)
				if !errors.Is(err, store.ErrCorrupt) {
					t.Errorf("%v does not wrap ErrCorrupt", err)
				}
			}
		})
	}
}

// TestFaultRow40SignersExpireAndAreRevoked says whose signature counts when.
func TestFaultRow40SignersExpireAndAreRevoked(t *testing.T) {
	p := newPeople(t, "alice bob old young gone all mallory")
	old, young, gone := p.key("old", sign.Promoter("prod")), p.key("young", sign.Promoter("prod")), p.key("gone", sign.Promoter("prod"))
	old.Until, young.From, gone.Revoked = day(10), day(10), day(5)
	trust := &sign.Trust{Keys: []sign.Key{p.key("alice", sign.Promoter("prod")), p.key("bob", sign.Promoter("dev")), old, young, gone, p.key("all", sign.Promoter("*"))}}
	text := []byte("a step")
	tests := []struct {
		names   string
		at, now int
		want    []string
		bad     string
	}{
		{"alice", 1, 1, []string{"alice"}, ""},
		{"alice all", 1, 1, []string{"alice", "all"}, ""},
		{"alice alice", 1, 1, []string{"alice"}, ""},
		{"bob", 1, 1, nil, "bob, but the key is not trusted as promoter:prod"},
		{"mallory", 1, 1, nil, "is not in the trust file"},
		{"old", 9, 20, []string{"old"}, ""}, // signed while it was valid
		{"old", 10, 20, nil, "old, but the key expired on 2026-01-10"},
		{"young", 9, 20, nil, "young, but the key is valid from 2026-01-10"},
		{"young", 11, 9, nil, "young, but the key is valid from 2026-01-10"}, // it says that it is of tomorrow
		{"young", 11, 11, []string{"young"}, ""},
		{"gone", 1, 20, nil, "gone, but the key is revoked since 2026-01-05"}, // whenever it signed
		{"gone alice", 1, 20, []string{"alice"}, "gone, but the key is revoked"},
	}
	for _, tt := range tests {
		v := trust.Check(sign.Claim{Namespace: sign.EnvNamespace, Message: text, Role: sign.Promoter("prod"), Time: day(tt.at), Now: day(tt.now)},
			p.sign(t, sign.EnvNamespace, text, tt.names))
		if got := v.Names(); !slices.Equal(got, tt.want) || tt.bad == "" && len(v.Bad) > 0 || !strings.Contains(strings.Join(v.Bad, "\n"), tt.bad) {
			t.Errorf("%s, signed on %d, seen on %d: %v, %q; want %v, %q", tt.names, tt.at, tt.now, got, v.Bad, tt.want, tt.bad)
		}
	}
	// A signature under another key's name counts for nobody.
	sigs := p.sign(t, sign.EnvNamespace, text, "alice")
	sigs[0].KeyID = p["all"].Key().ID()
	v := trust.Check(sign.Claim{Namespace: sign.EnvNamespace, Message: text, Role: sign.Promoter("prod"), Time: day(1), Now: day(1)}, sigs)
	wantError(t, v.Need(1, sign.Promoter("prod")), "nobody has", "says that it is by another key")
}

// TestTrustGolden holds what is stored, to the byte.
func TestTrustGolden(t *testing.T) {
	p := newPeople(t, "alice")
	k := p.key("alice", sign.Root, sign.Promoter("prod"))
	k.Until = day(30)
	c := sign.NewChain()
	p.propose(t, c, sign.Trust{Threshold: 1, Keys: []sign.Key{k}}, day(2), "")
	want := `{"seq":1,"prev":"","v":1,"threshold":1,"keys":[{"key":"` + k.Public.String() +
		`","name":"alice","roles":["root","promoter:prod"],"until":"2026-01-30T00:00:00Z"}],"time":"2026-01-02T00:00:00Z"}`
	if diff := cmp.Diff(want, string(must(c.Payload())(t))); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func FuzzParseChain(f *testing.F) {
	p := newPeople(f, "alice bob carol")
	c, v := twoOfThree(f, p)
	f.Add(must(c.Bytes())(f))
	p.propose(f, c, v, day(2), "alice")
	f.Add(must(c.Bytes())(f))
	doc, err := json.Marshal(v)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(must(store.EncodeEntry(doc, nil))(f))
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := sign.ParseChain(doc)
		if err != nil {
			return
		}
		if err := c.Extends(c); err != nil {
			t.Errorf("it does not follow itself: %v", err)
		}
		if trust, err := c.Trust(); err == nil {
			if trust.Threshold < 1 || len(trust.Keys) == 0 {
				t.Errorf("trusts %+v", trust)
			}
		} else if c.Pending() == nil {
			t.Error("neither a version that counts nor one that waits")
		}
	})
}

// image publishes an image with one file.
func image(t *testing.T, s *store.Store) store.Digest {
	t.Helper()
	c := store.Bytes([]byte("{}"))
	if _, err := s.Blobs().Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return must(s.PutImage(t.Context(), store.Image{Name: "x", Config: c.Blob(), Files: []store.File{store.NewFile("kernel8.img", 0o644, c.Blob())}}, store.Record{}))(t)
}

// TestImage: signatures lie beside an image, hold for ssh-keygen, and say whose they are.
func TestImage(t *testing.T) {
	s := must(store.Init(t.Context(), mem.New()))(t)
	d := image(t, s)
	p := newPeople(t, "alice bob mallory")
	for _, name := range []string{"alice", "bob", "alice", "mallory"} {
		if err := sign.Image(t.Context(), s, d, p[name]); err != nil {
			t.Fatal(err)
		}
	}
	manifest, sigs, bad, err := sign.ImageSigs(t.Context(), s, d)
	if err != nil || len(sigs) != 3 || len(bad) > 0 || store.Sum(manifest) != d {
		t.Fatalf("%d signatures, %q, %v; want one of each key", len(sigs), bad, err)
	}
	dir := t.TempDir()
	allowed := write(t, filepath.Join(dir, "allowed"), "alice "+p["alice"].Key().String()+"\n")
	for _, sig := range sigs {
		if sig.KeyID != p["alice"].Key().ID() {
			continue
		}
		file := write(t, filepath.Join(dir, "sig"), sig.SSHSig)
		if out, err := keygen(t, string(manifest), "-Y", "verify", "-f", allowed, "-I", "alice", "-n", sign.ImageNamespace, "-s", file); err != nil {
			t.Errorf("ssh-keygen: %v: %s", err, out)
		}
	}
	trust := &sign.Trust{Keys: []sign.Key{p.key("alice", sign.Publisher), p.key("bob", sign.Builder)}}
	v := must(trust.CheckImage(t.Context(), s, d, sign.Publisher, day(1)))(t)
	if !slices.Equal(v.Names(), []string{"alice"}) {
		t.Errorf("publishers %v, %q; want alice", v.Names(), v.Bad)
	}
	wantError(t, v.Need(2, sign.Publisher), "2 with the role publisher must have signed, 1 has (alice)", "bob, but the key is not trusted as publisher", "not in the trust file")
}

// TestImageWithBrokenSignatures: what lies beside an image and is none costs the others nothing.
func TestImageWithBrokenSignatures(t *testing.T) {
	s := must(store.Init(t.Context(), mem.New()))(t)
	d := image(t, s)
	p := newPeople(t, "alice")
	if err := sign.Image(t.Context(), s, d, p["alice"]); err != nil {
		t.Fatal(err)
	}
	c := store.Bytes([]byte("no signature"))
	if _, err := s.Blobs().Put(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	doc := must(store.EncodeReferrer(store.Referrer{Subject: must(s.Blobs().Find(t.Context(), d))(t), Type: sign.SignatureType, Content: []store.Blob{c.Blob()}}))(t)
	must(s.PutReferrer(t.Context(), doc))(t)
	_, sigs, bad, err := sign.ImageSigs(t.Context(), s, d)
	if err != nil || len(sigs) != 1 || len(bad) != 1 || !strings.Contains(bad[0], "not an SSH signature") {
		t.Errorf("%d signatures, %q, %v; want alice's and one that is none", len(sigs), bad, err)
	}
	if err := sign.Image(t.Context(), s, store.Sum(nil), p["alice"]); err == nil {
		t.Error("an image that is not there is signed")
	}
	if err := sign.Image(t.Context(), s, c.Digest, p["alice"]); err == nil {
		t.Error("what is no image is signed")
	}
}
