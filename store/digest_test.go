package store_test

import (
	"encoding/json"
	"strings"
	"testing"

	"piimg/store"
)

const emptySum = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestDigest(t *testing.T) {
	d := store.Sum(nil)
	if d.String() != emptySum || d.Short() != emptySum[:19] || d.IsZero() || !(store.Digest{}).IsZero() {
		t.Errorf("Sum(nil) = %s, short %s", d, d.Short())
	}
	got, n, err := store.SumReader(strings.NewReader("abc"))
	if err != nil || n != 3 || got != store.Sum([]byte("abc")) {
		t.Errorf("SumReader(abc) = %s, %d, %v", got, n, err)
	}
}

func TestParseDigestErrors(t *testing.T) {
	for _, s := range []string{
		"", "sha256", "sha256:", emptySum[7:], emptySum[:70], emptySum + "0", " " + emptySum, emptySum + "\n",
		strings.ToUpper(emptySum), "sha256:" + strings.ToUpper(emptySum[7:]), "sha512:" + emptySum[7:],
		"sha256:g" + emptySum[8:], "sha256:../" + emptySum[10:],
	} {
		if d, err := store.ParseDigest(s); err == nil || !d.IsZero() {
			t.Errorf("ParseDigest(%q) = %s, %v; want an error", s, d, err)
		}
	}
}

func TestDigestJSON(t *testing.T) {
	type doc struct{ A, B store.Digest }
	in := doc{A: store.Sum(nil)}
	text, err := json.Marshal(in)
	if err != nil || string(text) != `{"A":"`+emptySum+`","B":""}` {
		t.Errorf("Marshal = %s, %v", text, err)
	}
	var out doc
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("Unmarshal(%s) = %+v, %v", text, out, err)
	}
	if err := json.Unmarshal([]byte(`{"A":"sha256:00"}`), &out); err == nil {
		t.Error("Unmarshal of a short digest succeeded")
	}
}

func FuzzParseDigest(f *testing.F) {
	f.Add(emptySum)
	f.Add("sha256:")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := store.ParseDigest(s); err == nil && d.String() != s {
			t.Errorf("ParseDigest(%q) = %s", s, d)
		}
	})
}

func TestCheckEnv(t *testing.T) {
	for _, name := range []string{"dev", "prod", "z", "rack-1", "eu.west", "x_y", "0prod", strings.Repeat("x", 63), "by-digest2"} {
		if err := store.CheckEnv(name); err != nil {
			t.Errorf("CheckEnv(%s) = %v; want nil", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "-a", ".a", "_a", "a/b", "a..b", "A", "a b", "a@1", "a~1", "a:b", "é", "a\n", strings.Repeat("x", 64),
		"a", "beef", "12345678", "by-digest", "env", "v2", "chain", "report", "metrics", "healthz", "readyz", "store",
	} {
		if err := store.CheckEnv(name); err == nil || !strings.Contains(err.Error(), "environment") {
			t.Errorf("CheckEnv(%q) = %v; want an error", name, err)
		}
	}
}

func TestReserved(t *testing.T) {
	for _, name := range []string{"by-digest", "env", "v2", "chain", "report", "metrics", "healthz", "readyz", "store"} {
		if !store.Reserved(name) || store.CheckEnv(name) == nil {
			t.Errorf("Reserved(%s) = %v, CheckEnv = %v; want it reserved", name, store.Reserved(name), store.CheckEnv(name))
		}
	}
	for _, name := range []string{"", "prod", "environment", "Env", "overlays"} {
		if store.Reserved(name) {
			t.Errorf("Reserved(%q) = true; want false", name)
		}
	}
}

func TestCheckLine(t *testing.T) {
	for _, text := range []string{"", "alice@ci", `CORP\alice`, "new kernel: ~5 % faster", "Zoë 🐧 محمد", "a\u00a0b"} {
		if err := store.CheckLine("reason", text); err != nil {
			t.Errorf("CheckLine(%q) = %v; want nil", text, err)
		}
	}
	for text, want := range map[string]string{
		"two\nlines":           "the reason has the control character U+000A",
		"\r":                   "U+000D",
		"a\tb":                 "U+0009",
		"\x00":                 "U+0000",
		"\x1b[2Jcleared":       "U+001B",
		"\x7f":                 "U+007F",
		"\u009b2J":             "U+009B",
		"\u2028":               "U+2028",
		"\u202eecila\u202c@ci": "U+202E",
		"\x9b2J":               "the reason is not UTF-8",
	} {
		if err := store.CheckLine("reason", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("CheckLine(%q) = %v; want %q in the error", text, err, want)
		}
	}
}
