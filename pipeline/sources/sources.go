// Package sources gets what images are made from. All is the only list of kinds.
package sources

import (
	"net/http"
	"time"

	"piimg/pipeline"
)

// All are the kinds of sources. images may be nil: no recipe can be made from an image then.
func All(images Images) []pipeline.Fetcher {
	return []pipeline.Fetcher{
		Module{},
		Local{},
		URL{Client: &http.Client{Timeout: 30 * time.Minute}},
		Deb{},
		Git{},
		Image{Images: images},
	}
}
