#!/bin/sh
# musl.sh DIR: adds a compiler for musl to what host.sh has laid out in DIR.
#
# DIR/musl is the same compiler with another C library: musl as Debian packages it for arm64,
# fetched through apt's signed index, and the kernel's headers. DIR/ext gets the two headers
# of BSD that Buildroot adds to musl, from this machine and without a download.
set -e
dir=$1
m=$dir/musl
here=$(pwd)
cp -a "$dir/toolchain" "$m"
rm -rf "$m/sysroot"
mkdir -p "$m/sysroot/usr/lib" "$m/apt/lists/partial" "$m/apt/cache/archives/partial"

cd "$m/apt"
echo "deb $(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1) $(. /etc/os-release && echo "$VERSION_CODENAME") main" >sources.list
for step in update "download musl musl-dev"; do
	apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::Etc::SourceList="$PWD/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$PWD/lists" -o Dir::State::Status=/dev/null -o Dir::Cache="$PWD/cache" $step
done
sha256sum ./*.deb
for deb in ./*.deb; do dpkg -x "$deb" .; done
cd "$here"

s=$m/sysroot/usr
ln -s usr/lib "$m/sysroot/lib"
cp -a "$m/apt/usr/include/aarch64-linux-musl" "$s/include"
cp -a "$m/apt/usr/lib/aarch64-linux-musl/." "$s/lib"
find "$m/apt" -name 'libc.so' -type f -exec cp {} "$s/lib/libc.so" \;
ln -sf libc.so "$s/lib/ld-musl-aarch64.so.1"
for headers in asm asm-generic linux mtd; do cp -a "/usr/aarch64-linux-gnu/include/$headers" "$s/include/"; done

# %R is the sysroot, and %s looks among the compiler's own files.
cat >"$m/musl.specs" <<'EOF'
%rename cpp_options old_cpp_options

*cpp_options:
-nostdinc -isystem %R/usr/include -isystem include%s %(old_cpp_options)

*cc1:
%(cc1_cpu) -nostdinc -isystem %R/usr/include -isystem include%s

*link_libgcc:
-L%R/usr/lib -L .%s

*libgcc:
libgcc.a%s %:if-exists(libgcc_eh.a%s)

*startfile:
%{static:%R/usr/lib/crt1.o} %{!static:%{!shared:%R/usr/lib/Scrt1.o}} %R/usr/lib/crti.o %{static:crtbeginT.o%s} %{!static:crtbeginS.o%s}

*endfile:
%{static:crtend.o%s} %{!static:crtendS.o%s} %R/usr/lib/crtn.o

*link:
-dynamic-linker /lib/ld-musl-aarch64.so.1 -nostdlib %{shared:-shared} %{static:-static} %{rdynamic:-export-dynamic}

EOF
for tool in "$m"/bin/aarch64-linux-gnu-*; do
	name=$(basename "$tool")
	ln -s "$name" "$m/bin/aarch64-linux-musl-${name#aarch64-linux-gnu-}"
done
for p in gcc cpp; do
	rm "$m/bin/aarch64-linux-musl-$p"
	cat >"$m/bin/aarch64-linux-musl-$p" <<EOF
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
case \$* in
-v) exec "\$here/aarch64-linux-gnu-$p" -v ;;
-dumpmachine) echo aarch64-linux-musl && exit ;;
esac
# musl 1.2.3 has no __getauxval, which the atomics of libgcc ask for.
exec "\$here/aarch64-linux-gnu-$p.real" -mno-outline-atomics -specs="\$here/../musl.specs" --sysroot="\$here/../sysroot" "\$@"
EOF
	chmod +x "$m/bin/aarch64-linux-musl-$p"
done
rm -f "$m/bin/aarch64-linux-musl-g++" "$m/bin/aarch64-linux-musl-g++.real"

shim=$dir/ext/shim/musl-compat-headers
mkdir -p "$shim"
cp /usr/aarch64-linux-gnu/include/sys/queue.h "$shim/queue.h"
printf '#pragma once\n#ifdef __cplusplus\n#define __BEGIN_DECLS extern "C" {\n#define __END_DECLS }\n#else\n#define __BEGIN_DECLS\n#define __END_DECLS\n#endif\n' >"$shim/cdefs.h"
cat >>"$dir/ext/local.mk" <<'EOF'
MUSL_COMPAT_HEADERS_OVERRIDE_SRCDIR = $(BR2_EXTERNAL_HOSTTOOLS_PATH)/shim/musl-compat-headers
override MUSL_COMPAT_HEADERS_EXTRA_DOWNLOADS =
MUSL_COMPAT_HEADERS_SOURCE =
EOF
