package store_test

import (
	"strings"
	"testing"

	"piimg/store"
)

func TestParseRef(t *testing.T) {
	d := store.Sum([]byte("image"))
	tests := []struct {
		in   string
		want store.Ref
		out  string // what String gives; in by default
	}{
		{in: d.String(), want: store.Ref{Digest: d}},
		{in: d.Hex(), want: store.Ref{Digest: d}, out: d.String()},
		{in: "sha256:4f1c9a02", want: store.Ref{Prefix: "4f1c9a02"}},
		{in: "4f1c9a02", want: store.Ref{Prefix: "4f1c9a02"}, out: "sha256:4f1c9a02"},
		{in: "00000000", want: store.Ref{Prefix: "00000000"}, out: "sha256:00000000"},
		{in: d.Hex()[:63], want: store.Ref{Prefix: d.Hex()[:63]}, out: "sha256:" + d.Hex()[:63]},
		{in: "prod", want: store.Ref{Env: "prod"}},
		{in: "rack-1.eu_west", want: store.Ref{Env: "rack-1.eu_west"}},
		{in: "prod@41", want: store.Ref{Env: "prod", Seq: 41}},
		{in: "prod@0041", want: store.Ref{Env: "prod", Seq: 41}, out: "prod@41"},
		{in: "prod~2", want: store.Ref{Env: "prod", Back: 2}},
		{in: "prod~", want: store.Ref{Env: "prod", Back: 1}, out: "prod~1"},
	}
	for _, tt := range tests {
		got, err := store.ParseRef(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("ParseRef(%q) = %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
		if tt.out == "" {
			tt.out = tt.in
		}
		if got.String() != tt.out {
			t.Errorf("ParseRef(%q).String() = %q; want %q", tt.in, got, tt.out)
		}
	}
}

func TestParseRefErrors(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", "the name is empty"},
		{"sha256:", "0 digits are too few"},
		{"sha256:4f1c9a0", "7 digits are too few"},
		{"4f1c9a0", "7 digits are too few"},
		{"dead", "4 digits are too few"},
		{strings.Repeat("a", 65), "65 digits are too many"},
		{"sha256:4F1C9A02", "not made of the digits"},
		{"4F1C9A02", "in lower case"},
		{"sha256:prod", "not made of the digits"},
		{"sha256:4f1c9a02@1", "not made of the digits"},
		{"sha512:4f1c9a02", `environment "sha512:4f1c9a02"`},
		{"4f1c9a02~1", "hexadecimal digits alone"},
		{"Prod", `environment "Prod"`},
		{"prod/x", `environment "prod/x"`},
		{"../prod", `environment "../prod"`},
		{"metrics", "reserved"},
		{"@1", `environment ""`},
		{"~1", `environment ""`},
		{"prod@", `"" after "prod@"`},
		{"prod@0", `"0" after "prod@"`},
		{"prod~0", `"0" after "prod~"`},
		{"prod@-1", `"-1" after`},
		{"prod@+1", `"+1" after`},
		{"prod@1.5", `"1.5" after`},
		{"prod@99999999999", `"99999999999" after`},
		{"prod~1~1", `"1~1" after`},
		{"prod@41~1", `"41~1" after`},
		{"prod~~", `"~" after`},
		{"prod ", `environment "prod "`},
	}
	for _, tt := range tests {
		got, err := store.ParseRef(tt.in)
		if err == nil {
			t.Errorf("ParseRef(%q) = %+v; want an error", tt.in, got)
			continue
		}
		for _, want := range []string{tt.want, "<env>@<step>"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("ParseRef(%q) = %v; want %q in the error", tt.in, err, want)
			}
		}
	}
}

// FuzzParseRef: what is read is read again from its String.
func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"prod", "prod@41", "prod~", "sha256:4f1c9a02", "4f1c9a02", "dead", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := store.ParseRef(s)
		if err != nil {
			return
		}
		if again, err := store.ParseRef(r.String()); err != nil || again != r {
			t.Errorf("ParseRef(%q) = %+v, and of its String %q = %+v, %v", s, r, r, again, err)
		}
		if r.Env != "" && store.CheckEnv(r.Env) != nil {
			t.Errorf("ParseRef(%q) has the environment %q", s, r.Env)
		}
	})
}
