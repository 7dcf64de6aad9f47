package store

import (
	"regexp"
	"strings"
)

// What is out of the way lies below quarantine/, under its key and a suffix: that of a
// collection, or the first digits of what damaged bytes hash to.
const (
	asidePrefix     = "quarantine/"
	collectedSuffix = ".gc"
	damagedDigits   = 12
)

var damagedForm = regexp.MustCompile(`^[0-9a-f]{12}$`)

// CollectedKey is where a collection puts the blob at key.
func CollectedKey(key string) string { return asidePrefix + key + collectedSuffix }

// DamagedKey is where a repair puts the bytes that it has found at key, and that hash to d.
func DamagedKey(key string, d Digest) string {
	return AsidePrefix(key) + d.Hex()[:damagedDigits]
}

// AsidePrefix is what the keys begin with under which something of key is out of the way.
func AsidePrefix(key string) string { return asidePrefix + key + "." }

// Aside is something that is out of the way.
type Aside struct {
	Of      string // the key that it was at
	Damaged bool   // a repair has put it there; else a collection has
}

// ParseAside says what is at key. ok is false for what neither a repair nor a collection has
// put there: nobody knows what that is.
func ParseAside(key string) (a Aside, ok bool) {
	rest, ok := strings.CutPrefix(key, asidePrefix)
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot < 0 {
		return Aside{}, false
	}
	a = Aside{Of: rest[:dot], Damaged: rest[dot:] != collectedSuffix}
	if !a.Damaged {
		return a, isBlobKey(a.Of)
	}
	return a, damagedForm.MatchString(rest[dot+1:]) && repairable(a.Of)
}

// BlobOf is the digest of the content at key, and whether there would be some.
func BlobOf(key string) (Digest, bool) {
	d, err := ParseHex(key[strings.LastIndexByte(key, '/')+1:])
	return d, err == nil && BlobKey(d) == key
}

func isBlobKey(key string) bool {
	_, ok := BlobOf(key)
	return ok
}

// repairable says whether key is of a kind that a repair moves out of the way.
func repairable(key string) bool {
	kind, _, _ := strings.Cut(key, "/")
	switch kind {
	case layoutKey:
		return key == layoutKey
	case "blobs":
		return isBlobKey(key)
	case "images":
		_, ok := ImageOf(key)
		return ok
	case "envs", "boards", "yanked":
		prefix, _, _ := strings.Cut(key, "/log/")
		_, err := Log{prefix: prefix}.Seq(key)
		return err == nil
	case "cache":
		return CheckKey(key) == nil && key != kind
	}
	return false
}
