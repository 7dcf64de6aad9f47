package recipes

import (
	"math"

	"piimg/pipeline/format/initrd"
	"piimg/pipeline/format/newc"
)

// Limits are what the archives of an initramfs may ask for, together; 0 is the default of
// [initrd.Limits].
type Limits struct {
	Ratio    int64 `json:"ratio,omitempty"`    // plain bytes for each compressed one, above 64 MiB
	Entries  int64 `json:"entries,omitempty"`  // in all archives
	Size     int64 `json:"size,omitempty"`     // plain bytes
	Text     int64 `json:"text,omitempty"`     // bytes of names and targets
	Name     int64 `json:"name,omitempty"`     // bytes of a name
	Archives int64 `json:"archives,omitempty"` // in a row
}

// Limit is one of the limits, to be set.
type Limit struct {
	To   *int64
	Most int64 // its largest value
}

// ByName are the limits by name.
func (l *Limits) ByName() map[string]Limit {
	return map[string]Limit{
		"ratio": {&l.Ratio, math.MaxInt32}, "entries": {&l.Entries, 1 << 31}, "size": {&l.Size, 1 << 50},
		"text": {&l.Text, 1 << 40}, "name": {&l.Name, 4096}, "archives": {&l.Archives, 1 << 20},
	}
}

// Format is l as package initrd takes it.
func (l Limits) Format() initrd.Limits {
	return initrd.Limits{
		Limits: newc.Limits{Name: int(l.Name), Entries: l.Entries, Size: l.Size},
		Ratio:  l.Ratio, Archives: int(l.Archives), Text: l.Text,
	}
}

// limits is the [initramfs.limits] table.
func (r *reader) limits(t *table) (l Limits) {
	for name, limit := range l.ByName() {
		if n := t.get(name); n != nil {
			*limit.To, _ = r.integer(n, 1, limit.Most)
		}
	}
	t.done()
	return l
}
