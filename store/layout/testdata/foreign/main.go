// Command foreign reads an OCI image layout as crane and oras do, and writes what they make
// of it.
//
//	foreign FOLDER FILE.tar NAME DIGEST OUT
//
// go-containerregistry validates every manifest of the folder and takes the image through a
// registry into OUT/crane; oras-go copies it with what refers to it from the archive into
// OUT/oras. It prints how many manifests were valid and how many refer to the image.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	ggcr "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
)

func main() {
	folder, file, name, digest, out := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	valid, err := throughRegistry(folder, digest, filepath.Join(out, "crane"))
	if err != nil {
		log.Fatal("crane: ", err)
	}
	referrers, err := throughOras(context.Background(), file, name, digest, filepath.Join(out, "oras"))
	if err != nil {
		log.Fatal("oras: ", err)
	}
	fmt.Println(valid, referrers)
}

func throughRegistry(folder, digest, out string) (int, error) {
	path, err := ggcr.FromPath(folder)
	if err != nil {
		return 0, err
	}
	index, err := path.ImageIndex()
	if err != nil {
		return 0, err
	}
	list, err := index.IndexManifest()
	if err != nil {
		return 0, err
	}
	for _, m := range list.Manifests {
		image, err := index.Image(m.Digest)
		if err != nil {
			return 0, err
		}
		if err := validate.Image(image); err != nil {
			return 0, fmt.Errorf("%s: %w", m.Digest, err)
		}
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	hash, err := v1.NewHash(digest)
	if err != nil {
		return 0, err
	}
	image, err := index.Image(hash)
	if err != nil {
		return 0, err
	}
	remote := strings.TrimPrefix(server.URL, "http://") + "/fleet/image:latest"
	if err := crane.Push(image, remote, crane.Insecure); err != nil {
		return 0, err
	}
	pulled, err := crane.Pull(remote, crane.Insecure)
	if err != nil {
		return 0, err
	}
	if err := validate.Image(pulled); err != nil {
		return 0, err
	}
	return len(list.Manifests), crane.SaveOCI(pulled, out)
}

func throughOras(ctx context.Context, file, name, digest, out string) (int, error) {
	from, err := oci.NewFromTar(ctx, file)
	if err != nil {
		return 0, err
	}
	to, err := oci.New(out)
	if err != nil {
		return 0, err
	}
	copied, err := oras.ExtendedCopy(ctx, from, name, to, name, oras.DefaultExtendedCopyOptions)
	if err != nil {
		return 0, err
	}
	if copied.Digest.String() != digest {
		return 0, fmt.Errorf("%s became %s", digest, copied.Digest)
	}
	referrers, err := from.Predecessors(ctx, copied)
	return len(referrers), err
}
