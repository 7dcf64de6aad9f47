// Command pull reads an image from a registry as crane and as ORAS do, each by the library
// that is behind it, and prints the digest of the manifest and of every layer, with its
// title, once all bytes have come and match.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	orasremote "oras.land/oras-go/v2/registry/remote"
)

const title = "org.opencontainers.image.title"

func main() {
	pull := map[string]func(host, repo, ref string) error{"crane": crane, "oras": oras2}[os.Args[1]]
	if err := pull(os.Args[2], os.Args[3], os.Args[4]); err != nil {
		log.Fatal(err)
	}
}

func crane(host, repo, ref string) error {
	separator := ":"
	if len(ref) > 7 && ref[:7] == "sha256:" {
		separator = "@"
	}
	at, err := name.ParseReference(host+"/"+repo+separator+ref, name.Insecure)
	if err != nil {
		return err
	}
	image, err := remote.Image(at)
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Println("manifest", digest)
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	if _, err := image.RawConfigFile(); err != nil {
		return err
	}
	for _, d := range manifest.Layers {
		l, err := remote.Layer(at.Context().Digest(d.Digest.String()))
		if err != nil {
			return err
		}
		r, err := l.Compressed() // verifies
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil || n != d.Size {
			return fmt.Errorf("layer %s: %d bytes, %v", d.Digest, n, err)
		}
		fmt.Println(d.Annotations[title], d.Digest)
	}
	return nil
}

func oras2(host, repo, ref string) error {
	ctx := context.Background()
	r, err := orasremote.NewRepository(host + "/" + repo)
	if err != nil {
		return err
	}
	r.PlainHTTP = true
	var tags []string
	if err := r.Tags(ctx, "", func(t []string) error { tags = append(tags, t...); return nil }); err != nil {
		return err
	}
	if len(tags) == 0 {
		return fmt.Errorf("%s has no tags", repo)
	}
	to := memory.New()
	d, err := oras.Copy(ctx, r, ref, to, ref, oras.DefaultCopyOptions) // verifies
	if err != nil {
		return err
	}
	fmt.Println("manifest", d.Digest)
	layers, err := content.Successors(ctx, to, d)
	if err != nil {
		return err
	}
	for _, l := range layers {
		if _, err := content.FetchAll(ctx, to, l); err != nil {
			return err
		}
		if l.MediaType != ocispec.MediaTypeImageConfig && l.Annotations[title] != "" {
			fmt.Println(l.Annotations[title], l.Digest)
		}
	}
	return nil
}
