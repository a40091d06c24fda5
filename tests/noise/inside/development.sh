#!/usr/bin/env bash
# A developer's day: a repository, hooks, a C program with make, a Python environment, a Java program, databases.
. "$(dirname "$0")/common.sh"

install git curl build-essential python3-venv python3-pip default-jdk-headless sqlite3 nodejs gdb postgresql
did "a repository" as_user 'git config --global user.email a@example.org; git config --global user.name A; git init -q app && cd app && printf "#!/bin/sh\nexit 0\n" > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit && echo x > x && git add x && git commit -qm x && git clone -q . ../copy && git log | cat'
did "a C program" as_user 'mkdir -p c && cd c && printf "int main(){return 0;}\n" > m.c && printf "m: m.c\n\tcc -g -o m m.c\n" > Makefile && make && ./m && gdb -batch -ex run ./m && make -B -j4'
did "a Python environment" as_user 'python3 -m venv v && v/bin/python -c "import json,socket,subprocess; subprocess.run([\"ls\"])" && v/bin/python -m http.server --bind 127.0.0.1 8099 >/dev/null 2>&1 & for turn in $(seq 50); do curl -sf -o /dev/null 127.0.0.1:8099 && break; sleep 0.1; done; kill %1'
did "a Java program" as_user 'mkdir -p j && cd j && printf "public class M{public static void main(String[] a)throws Exception{System.out.println(1);}}\n" > M.java && javac M.java && java M && jar cf m.jar M.class'
did "node" as_user 'node -e "require(\"http\").createServer((q,s)=>s.end()).listen(8098,\"127.0.0.1\",function(){this.close()})"'
did "a small data base" as_user 'sqlite3 d.sqlite "create table t(a); insert into t values(1); select * from t"'
did "a data base server" bash -c 'systemctl start postgresql postgresql@15-main && runuser -u postgres -- psql -c "create table if not exists t(a int)" && runuser -u postgres -- pg_dump postgres > /root/d.sql'
did "search the sources" as_user 'grep -rn main c j; find . -name "*.java"; tar czf c.tgz c; rm -rf copy'
