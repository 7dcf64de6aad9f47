# A prompt that shows who is root: red with a hash, and others green with a dollar sign.
if [ "$(id -u)" = 0 ]; then
    PS1='\[\033[1;31m\]\u@\h\[\033[0m\]:\[\033[1;34m\]\w\[\033[0m\]# '
else
    PS1='\[\033[1;32m\]\u@\h\[\033[0m\]:\[\033[1;34m\]\w\[\033[0m\]$ '
fi
export PS1
